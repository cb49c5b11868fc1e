"""Unpack a layer's tar into a directory: nothing in it can reach outside. Blocking, needs root.

Every path is walked from an open directory, a component at a time, without following links. So
the text of a name or link never meets the host's file system as a whole.
"""

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from runtime import errors
from runtime.contract.rootfs import IdRange
from runtime.image.tree import Attributes, Tree

WHITEOUT: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"
AUFS: Final = b".wh..wh."  # aufs' own files: meant for nobody else
XATTR: Final = "SCHILY.xattr."
HEADER_MAX_BYTES: Final = 4 << 20  # pax records, long names and sparse maps of one entry
COPY_BYTES: Final = 1 << 20
BLOCK: Final = 4096
MTIME_MAX_S: Final = 1 << 33  # ext4 ends in 2446, and tar writers put nonsense here


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one layer may ask of this host."""

    entries: int = 1_000_000
    file_bytes: int = 256 << 30  # sum of file sizes, holes included
    stream_bytes: int = 256 << 30  # the uncompressed tar


@dataclass(slots=True, kw_only=True)
class Unpacked:
    """What a layer came to."""

    entries: int = 0
    size_bytes: int = 0  # sum of file sizes
    disk_bytes: int = 0  # sum of blocks with data


class Bytes:
    """A forward-only file over chunks, as tarfile wants one; refuses headers without end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._offset = 0
        self.budget = HEADER_MAX_BYTES

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, _whence: int = 0) -> int:
        left = offset - self._offset
        if left < 0:
            raise errors.Refused("read tar", why="goes backwards")
        while left and (piece := self.take(left)):
            left -= len(piece)
        if left:
            raise errors.Refused("read tar", why="ends early")
        return self._offset

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, fewer only at the end; counted against the header budget."""
        self.budget -= size
        if size < 0 or self.budget < 0:
            raise errors.Refused("read tar", why="header too long", limit=HEADER_MAX_BYTES)
        pieces = []
        while size and (piece := self.take(size)):
            pieces.append(bytes(piece))
            size -= len(piece)
        return b"".join(pieces)

    def take(self, size: int) -> memoryview:
        """The next bytes, at most ``size``, without a copy; empty at the end."""
        while not self._chunk:
            chunk = next(self._chunks, None)
            if chunk is None:
                return self._chunk
            self._chunk = memoryview(chunk)
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        self._offset += len(piece)
        return piece

    def drain(self) -> None:
        """Read to the end: the hash is over padding too."""
        while self.take(COPY_BYTES):
            pass


def untar(chunks: Iterator[bytes], into: Path, limits: Limits) -> Unpacked:
    """Unpack the tar in ``chunks`` into the empty directory ``into``, in overlayfs' form.

    Raises:
        Refused: malformed, too large, or it tries to leave the directory.
        OSError: the disk's answer.
    """
    source = Bytes(chunks)
    with Tree(into) as tree:
        layer = _Layer(tree, source, limits)
        for entry in read_entries(source):
            layer.add(entry)
        source.drain()
        tree.finish()
    return layer.done


def untar_files(
    chunks: Iterator[bytes],
    folder: int,
    limits: Limits,
    *,
    keep_owner: bool,
    ids: IdRange | None = None,
) -> None:
    """Unpack a tar of plain files into an open folder that may hold others.

    Args:
        ids: of the user namespace whose files they become; the tar has its own ids.

    Names of whiteouts mean nothing here. Errors as of ``untar``; what was unpacked before stays.
    """
    source = Bytes(chunks)
    with Tree(folder, keeps_kinds=True) as tree:
        files = _Layer(tree, source, limits)
        for entry in read_entries(source):
            if not keep_owner:
                entry.uid = entry.gid = 0
            if ids is not None:
                entry.uid, entry.gid = ids.outside(entry.uid), ids.outside(entry.gid)
            files.add_file(entry)
        source.drain()
        tree.finish()


def read_entries(source: Bytes) -> Iterator[tarfile.TarInfo]:
    """Parse headers with tarfile; everything odd it may raise on hostile bytes is Refused."""
    try:
        archive = tarfile.TarFile(fileobj=source, mode="r", encoding="utf-8")  # type: ignore[arg-type]
        entry = archive.firstmember  # type: ignore[attr-defined]
        while entry is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            yield entry
            source.seek(archive.offset)
            source.budget = HEADER_MAX_BYTES
            entry = _next_entry(archive)
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as exc:
        raise errors.Refused("read tar", why=str(exc)[:200] or type(exc).__name__) from exc


def _next_entry(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.fromtarfile(archive)
    except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
        return None


class _Layer:
    """Puts entries into the tree and keeps count."""

    def __init__(self, tree: Tree, source: Bytes, limits: Limits) -> None:
        self._tree = tree
        self._source = source
        self._limits = limits
        self.done = Unpacked()

    def add(self, entry: tarfile.TarInfo) -> None:
        self._count(entry)
        *folders, name = _parts(entry.name) or [b""]
        if name == b"":
            if not entry.isdir():
                raise errors.Refused("unpack entry", name=entry.name[:300], why="replaces the root")
            self._tree.set_root(_attributes(entry))
        elif name.startswith(WHITEOUT):
            self._whiteout(folders, name)
        else:
            self._tree.enter(folders)
            self._make(entry, name)

    def add_file(self, entry: tarfile.TarInfo) -> None:
        """The same for what is no layer: the root keeps its attributes, no name is special."""
        self._count(entry)
        *folders, name = _parts(entry.name) or [b""]
        if name:
            self._tree.enter(folders)
            self._make(entry, name)
        elif not entry.isdir():
            raise errors.Refused("unpack entry", name=entry.name[:300], why="replaces the root")

    def _count(self, entry: tarfile.TarInfo) -> None:
        done, limits = self.done, self._limits
        done.entries += 1
        done.size_bytes += entry.size if entry.isreg() else 0
        if entry.size < 0 or done.entries > limits.entries or done.size_bytes > limits.file_bytes:
            raise errors.Refused(
                "unpack layer", why="too large", entries=done.entries, bytes=done.size_bytes
            )

    def _whiteout(self, folders: list[bytes], name: bytes) -> None:
        if name == OPAQUE:
            self._tree.enter(folders)
            self._tree.set_opaque()
        elif not name.startswith(AUFS):
            hidden = name.removeprefix(WHITEOUT)
            if hidden in {b"", b".", b".."}:
                raise errors.Refused("unpack entry", name=name.decode(), why="bad whiteout")
            self._tree.enter(folders)
            self._tree.hide(hidden)

    def _make(self, entry: tarfile.TarInfo, name: bytes) -> None:
        attributes = _attributes(entry)
        if entry.isdir():
            self._tree.folder(name, attributes)
        elif entry.isreg():
            self._file(entry, name, attributes)
        elif entry.issym():
            self._tree.symlink(name, _text(entry.linkname), attributes)
        elif entry.islnk():
            self._tree.hardlink(name, _parts(entry.linkname))
        elif entry.ischr() or entry.isblk():
            kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
            self._tree.node(name, kind, os.makedev(entry.devmajor, entry.devminor), attributes)
        elif entry.isfifo():
            self._tree.node(name, stat.S_IFIFO, 0, attributes)
        else:
            raise errors.Refused("unpack entry", name=entry.name[:300], type=repr(entry.type))

    def _file(self, entry: tarfile.TarInfo, name: bytes, attributes: Attributes) -> None:
        fd = self._tree.file(name)
        try:
            self._source.seek(entry.offset_data)
            sparse = cast("list[tuple[int, int]] | None", entry.sparse)
            for offset, size in [(0, entry.size)] if sparse is None else sparse:
                self._copy(fd, offset, size, entry.size)
            if sparse is not None:
                os.ftruncate(fd, entry.size)
            self._tree.dress(name, attributes, fd=fd)
        finally:
            os.close(fd)

    def _copy(self, fd: int, offset: int, size: int, end: int) -> None:
        if offset < 0 or size < 0 or offset + size > end:
            raise errors.Refused("unpack entry", why="bad sparse map")
        self.done.disk_bytes += -(-size // BLOCK) * BLOCK
        os.lseek(fd, offset, os.SEEK_SET)
        while size:
            piece = self._source.take(size)
            if not piece:
                raise errors.Refused("read tar", why="ends early")
            size -= len(piece)
            while piece:
                piece = piece[os.write(fd, piece) :]


def _text(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _parts(name: str) -> list[bytes]:
    """Split a name; absolute names are taken as relative, ``..`` is never taken."""
    parts = [part for part in _text(name).split(b"/") if part not in {b"", b"."}]
    if b".." in parts or any(b"\0" in part or len(part) > 255 for part in parts):
        raise errors.Refused("unpack entry", name=name[:300], why="bad path")
    return parts


def _attributes(entry: tarfile.TarInfo) -> Attributes:
    if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
        raise errors.Refused("unpack entry", name=entry.name[:300], uid=entry.uid, gid=entry.gid)
    mtime = float(entry.mtime) if 0 <= entry.mtime <= MTIME_MAX_S else 0.0  # NaN too
    return Attributes(
        mode=entry.mode & 0o7777,
        uid=entry.uid,
        gid=entry.gid,
        mtime_ns=int(mtime * 1_000_000_000),
        xattrs=_xattrs(entry.pax_headers),
    )


def _xattrs(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Capabilities and user attributes; overlayfs' own would steer the mount from inside."""
    found = {}
    for key, value in headers.items():
        name = key.removeprefix(XATTR)
        if key.startswith(XATTR) and (name == "security.capability" or _is_user(name)):
            found[name] = _text(value)
    return found


def _is_user(name: str) -> bool:
    return name.startswith("user.") and not name.startswith("user.overlay.")
