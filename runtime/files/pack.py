"""Write a directory tree as a tar, entry by entry. Blocking, needs root.

Nothing in the tree is followed: folders are opened from their parent's descriptor, and a file that
is replaced or shrinks while it is read costs its own content only, never the form of the tar.
"""

import os
import stat
import tarfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from runtime import errors
from runtime.contract.rootfs import IdRange
from runtime.files.overlay import is_opaque, is_whiteout
from runtime.image.tree import DEPTH_MAX, OPEN_DIR
from runtime.image.untar import OPAQUE, WHITEOUT, XATTR

Write = Callable[[bytes], object]
BLOCK: Final = 512
COPY_BYTES: Final = 1 << 18
OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
TYPES: Final = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


@dataclass(slots=True, kw_only=True)
class Packer:
    """Writes entries; ``finish`` writes the end.

    ``as_layer``: the tree is an overlay's upper directory, and hidden names become whiteouts.
    ``left_out``: names of entries that are not written, with all below.
    ``ids``: of the user namespace whose files they are; its own ids are written.
    """

    write: Write
    as_layer: bool = False
    left_out: Collection[str] = ()
    ids: IdRange | None = None
    _links: dict[tuple[int, int], str] = field(default_factory=dict)

    def folder(self, fd: int, name: str = "", depth: int = 0) -> None:
        """Write all that is in an open folder, in order of names; ``name``: how it is called."""
        if depth > DEPTH_MAX:
            raise errors.Refused("pack files", name=name[:300], why="too deep", limit=DEPTH_MAX)
        if self.as_layer and is_opaque(fd):
            self._mark(_join(name, os.fsdecode(OPAQUE)))
        for inner in sorted(os.listdir(fd)):
            self.entry(fd, inner, _join(name, inner), depth)

    def entry(self, folder: int, inner: str, name: str, depth: int = 0) -> None:
        """Write the entry ``inner`` of an open folder as ``name``, a folder with all below it."""
        if name in self.left_out:
            return
        try:
            found = os.lstat(inner, dir_fd=folder)
        except FileNotFoundError:
            return  # gone since its folder was listed
        if self.as_layer and is_whiteout(found):
            self._mark(name.removesuffix(inner) + os.fsdecode(WHITEOUT) + inner)
            return
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFREG:
            self._file(folder, inner, name)
        elif kind == stat.S_IFDIR:
            self._directory(folder, inner, name, depth)
        elif kind in TYPES:  # a socket is nothing that could be kept
            self._other(folder, inner, name, found)

    def finish(self) -> None:
        """Write the two empty blocks a tar ends with."""
        self.write(bytes(2 * BLOCK))

    def _directory(self, folder: int, inner: str, name: str, depth: int) -> None:
        try:
            fd = os.open(inner, OPEN_DIR, dir_fd=folder)
        except OSError:
            return  # replaced since it was looked at
        try:
            info = _info(name, os.fstat(fd))
            info.pax_headers = {**info.pax_headers, **_xattrs(fd)}
            self._head(info)
            self.folder(fd, name, depth + 1)
        finally:
            os.close(fd)

    def _file(self, folder: int, inner: str, name: str) -> None:
        try:
            fd = os.open(inner, OPEN_FILE, dir_fd=folder)
        except OSError:
            return
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return
            info = _info(name, found)
            if found.st_nlink > 1:
                first = self._links.setdefault((found.st_dev, found.st_ino), name)
                if first != name:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                    self._head(info)
                    return
            info.pax_headers = {**info.pax_headers, **_xattrs(fd)}
            self._head(info)
            self._content(fd, info.size)
        finally:
            os.close(fd)

    def _other(self, folder: int, inner: str, name: str, found: os.stat_result) -> None:
        info = _info(name, found)
        if info.issym():
            info.linkname = os.readlink(inner, dir_fd=folder)
        self._head(info)

    def _content(self, fd: int, size: int) -> None:
        """Exactly ``size`` bytes, whatever becomes of the file meanwhile."""
        left = size
        while left:
            piece = os.read(fd, min(left, COPY_BYTES)) or bytes(min(left, COPY_BYTES))
            self.write(piece)
            left -= len(piece)
        self.write(bytes(-size % BLOCK))

    def _mark(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.mode = 0
        if self.ids is not None:
            info.uid = info.gid = self.ids.first
        self._head(info)

    def _head(self, info: tarfile.TarInfo) -> None:
        if self.ids is not None:
            info.uid, info.gid = self.ids.inside(info.uid), self.ids.inside(info.gid)
        self.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _info(name: str, found: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = TYPES[stat.S_IFMT(found.st_mode)]
    info.mode, info.uid, info.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    info.size = found.st_size if info.isreg() else 0
    seconds, nanoseconds = divmod(found.st_mtime_ns, 1_000_000_000)
    info.mtime = seconds
    if nanoseconds:
        info.pax_headers = {"mtime": f"{seconds}.{nanoseconds:09d}"}
    if info.ischr() or info.isblk():
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return info


def _xattrs(fd: int) -> dict[str, str]:
    """Capabilities and user attributes, as layers carry them."""
    try:
        names = os.listxattr(fd)
    except OSError:
        return {}  # a filesystem without any
    kept = [each for each in names if each == "security.capability" or each.startswith("user.")]
    return {XATTR + each: os.getxattr(fd, each).decode("utf-8", "surrogateescape") for each in kept}
