"""A directory tree that is written entry by entry through open directories. Blocking, needs root.

No path is ever resolved as a whole and no symbolic link followed: each component is opened from its
parent's descriptor. The chain of open parents is kept, as neighbours in a tar share it.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtime import errors

OPEN_DIR: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OPAQUE_XATTR: Final = "trusted.overlay.opaque"
# As deep as we descend: PATH_MAX allows 2,047 names, and each level holds a descriptor.
DEPTH_MAX: Final = 512
NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Everything but the content of one entry."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


class Tree:
    """A cursor in the tree: ``enter`` a folder, then make entries in it.

    Args:
        root: a directory, or the descriptor of one, which stays the caller's.
        keeps_kinds: a folder is never replaced by something else, nor something else by a folder.
    """

    def __init__(self, root: Path | int, *, keeps_kinds: bool = False) -> None:
        self._fds = [os.dup(root) if isinstance(root, int) else os.open(root, OPEN_DIR)]
        self._keeps_kinds = keeps_kinds
        self._names: list[bytes] = []
        self._mtimes: dict[tuple[bytes, ...], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave_to(0)
        os.close(self._fds.pop())

    @property
    def here(self) -> int:
        """The descriptor of the current folder."""
        return self._fds[-1]

    def enter(self, parts: Sequence[bytes]) -> None:
        """Go to a folder, making what is missing on the way."""
        if len(parts) > DEPTH_MAX:
            raise errors.Refused("unpack entry", why="too deep", limit=DEPTH_MAX)
        same = 0
        while same < min(len(parts), len(self._names)) and parts[same] == self._names[same]:
            same += 1
        self._leave_to(same)
        for name in parts[same:]:
            self._descend(name)

    def set_root(self, attributes: Attributes) -> None:
        """Give the root of the layer its attributes."""
        self._leave_to(0)
        self._dress_folder(self.here, attributes)
        self._mtimes[()] = attributes.mtime_ns

    def folder(self, name: bytes, attributes: Attributes) -> None:
        """Make a folder, or give one that is there these attributes."""
        was = self._kind(name)
        if was != stat.S_IFDIR:
            if was and self._keeps_kinds:
                raise _kind_differs(name, "a folder", "something else")
            hidden = was == stat.S_IFCHR and self._is_whiteout(name)
            self._clear(name, was)
            os.mkdir(name, 0o700, dir_fd=self.here)
            self._descend(name)
            if hidden:  # the folder below must stay hidden, so this one is opaque
                self.set_opaque()
        else:
            self._descend(name)
        self._dress_folder(self.here, attributes)
        # Later entries touch it, so its time is set at the end.
        self._mtimes[tuple(self._names)] = attributes.mtime_ns

    def file(self, name: bytes) -> int:
        """Make an empty file in place of what has this name; the caller closes the descriptor."""
        try:
            return os.open(name, OPEN_NEW, 0o600, dir_fd=self.here)
        except FileExistsError:
            self._clear(name, self._kind(name))
            return os.open(name, OPEN_NEW, 0o600, dir_fd=self.here)

    def symlink(self, name: bytes, target: bytes, attributes: Attributes) -> None:
        """Make a symbolic link; its text may be anything, nobody here follows it."""
        if not target or b"\0" in target:
            raise errors.Refused("unpack entry", why="bad link text")
        self._clear(name, self._kind(name))
        os.symlink(target, name, dir_fd=self.here)
        self.dress(name, attributes)

    def hardlink(self, name: bytes, target: Sequence[bytes]) -> None:
        """Make a second name for a file of this layer."""
        if not target:
            raise errors.Refused("unpack entry", why="hard link to the root")
        source = self._walk(target[:-1])
        try:
            self._clear(name, self._kind(name))
            os.link(
                target[-1], name, src_dir_fd=source, dst_dir_fd=self.here, follow_symlinks=False
            )
        except OSError as exc:
            if exc.errno not in NOT_THERE | {errno.EPERM, errno.EXDEV, errno.EMLINK}:
                raise
            raise errors.Refused("unpack entry", why="hard link to nowhere") from exc
        finally:
            os.close(source)

    def node(self, name: bytes, kind: int, device: int, attributes: Attributes) -> None:
        """Make a device or a fifo."""
        self._clear(name, self._kind(name))
        os.mknod(name, kind | 0o600, device, dir_fd=self.here)
        self.dress(name, attributes)

    def hide(self, name: bytes) -> None:
        """Hide what lower layers have under this name; what this layer has itself stays."""
        kind = self._kind(name)
        if kind == 0:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self.here)
        elif kind == stat.S_IFDIR:
            self._descend(name)
            self.set_opaque()

    def set_opaque(self) -> None:
        """Hide all that lower layers have in the current folder."""
        os.setxattr(self.here, OPAQUE_XATTR, b"y")

    def dress(self, name: bytes, attributes: Attributes, *, fd: int = -1) -> None:
        """Set owner, then mode and attributes: chown clears setuid bits and capabilities."""
        here, is_link = self.here, fd < 0 and self._kind(name) == stat.S_IFLNK
        os.chown(name, attributes.uid, attributes.gid, dir_fd=here, follow_symlinks=False)
        if fd >= 0:
            os.fchmod(fd, attributes.mode)
        elif not is_link:
            os.chmod(name, attributes.mode, dir_fd=here)  # not a link: just made by us
        path = b"/proc/self/fd/%d/%s" % (here, name)
        for key, value in attributes.xattrs.items():
            _set_xattr(path, key, value)
        times = (attributes.mtime_ns, attributes.mtime_ns)
        os.utime(name, ns=times, dir_fd=here, follow_symlinks=False)

    def finish(self) -> None:
        """Set the folders' times, now that nothing is made in them any more."""
        for parts, mtime_ns in sorted(self._mtimes.items()):
            try:
                fd = self._walk(parts)
            except errors.Refused:
                continue  # a later entry replaced it
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _descend(self, name: bytes) -> None:
        try:
            fd = _open_dir(name, self.here)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=self.here)
            fd = _open_dir(name, self.here)
            os.fchmod(fd, 0o755)  # whatever our umask is
        self._fds.append(fd)
        self._names.append(name)

    def _leave_to(self, depth: int) -> None:
        while len(self._names) > depth:
            self._names.pop()
            os.close(self._fds.pop())

    def _walk(self, parts: Sequence[bytes]) -> int:
        """Open an existing folder, from the root."""
        fd = os.dup(self._fds[0])
        for name in parts:
            try:
                inner = _open_dir(name, fd)
            except FileNotFoundError as exc:
                raise errors.Refused("unpack entry", why="no such folder in this layer") from exc
            finally:
                os.close(fd)
            fd = inner
        return fd

    def _kind(self, name: bytes) -> int:
        """The file type under this name, 0 if none."""
        try:
            return stat.S_IFMT(os.lstat(name, dir_fd=self.here).st_mode)
        except FileNotFoundError:
            return 0

    def _is_whiteout(self, name: bytes) -> bool:
        return os.lstat(name, dir_fd=self.here).st_rdev == os.makedev(0, 0)

    def _clear(self, name: bytes, kind: int) -> None:
        """Remove what an earlier entry of the same name made."""
        if kind == stat.S_IFDIR:
            if self._keeps_kinds:
                raise _kind_differs(name, "something else", "a folder")
            _remove_tree(name, self.here)
        elif kind:
            os.unlink(name, dir_fd=self.here)

    def _dress_folder(self, fd: int, attributes: Attributes) -> None:
        os.fchown(fd, attributes.uid, attributes.gid)
        os.fchmod(fd, attributes.mode)
        for key, value in attributes.xattrs.items():
            _set_xattr(fd, key, value)


def _kind_differs(name: bytes, new: str, old: str) -> errors.Refused:
    shown = name.decode("utf-8", "replace")
    return errors.Refused("unpack entry", name=shown, why=f"{new} would replace {old}")


def _open_dir(name: bytes, parent: int) -> int:
    try:
        return os.open(name, OPEN_DIR, dir_fd=parent)
    except OSError as exc:
        if exc.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        shown = name.decode("utf-8", "replace")
        raise errors.Refused("unpack entry", name=shown, why="path leads through a link") from exc


def _set_xattr(path: int | bytes, key: str, value: bytes) -> None:
    try:
        if isinstance(path, int):
            os.setxattr(path, key, value)
        else:
            os.setxattr(path, key, value, follow_symlinks=False)
    except OSError as exc:
        # A file system without user attributes loses them, as with Docker; never capabilities.
        if exc.errno not in {errno.EOPNOTSUPP, errno.EPERM} or not key.startswith("user."):
            raise


def _remove_tree(name: bytes, parent: int) -> None:
    """Remove a folder and all below, never through a link (shutil.rmtree has dir_fd there)."""
    fd = _open_dir(name, parent)
    try:
        with os.scandir(fd) as found:
            entries = [(os.fsencode(one.name), one.is_dir(follow_symlinks=False)) for one in found]
        for inner, is_dir in entries:
            if is_dir:
                _remove_tree(inner, fd)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
