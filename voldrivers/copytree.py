"""A faithful copy of a directory's contents, by descriptors, links never followed. Blocking.

Kept: owner, mode, times in ns, extended attributes, hard links, holes, devices, fifos, sockets.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from voldrivers.inroot import FOLDER

DEPTH_MAX: Final = 200  # levels; each holds two descriptors
CHUNK_BYTES: Final = 256 << 20
# kinds of file system that cannot copy inside the kernel between each other say one of these
NO_COPY_RANGE: Final = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
# overlayfs keeps its own book in these; a capability or an ACL is the image's
SKIPPED_XATTRS: Final = ("trusted.overlay.", "security.selinux")


class TooDeep(Exception):
    """More levels than ``DEPTH_MAX``."""


def copy_contents(source: int, target: int, *, check: Callable[[], None]) -> None:
    """Copy all entries of one directory into another, empty one; ``check`` may raise to stop."""
    _Copy(target, check).folder(source, target, "")


@dataclass(slots=True)
class Shared:
    """What a copy has in common with an earlier one, file by file."""

    files: int = 0
    bytes: int = 0
    shared_files: int = 0


def copy_beside(
    source: int, target: int, earlier: int | None, *, check: Callable[[], None]
) -> Shared:
    """The same; a file that is as in an earlier copy (size, times, owner, mode) is a link to it.

    Both copies must be on one file system, and neither may be changed afterwards.
    """
    copy = _Copy(target, check)
    copy.folder(source, target, "", earlier=earlier)
    return copy.shared


def copy_metadata(source: int, target: int) -> bool:
    """Make owner, mode, attributes and times of an open file as the other's; True if they differed.

    The order matters: chown clears set-user-id and capabilities, everything touches the times.
    """
    want, have = os.fstat(source), os.fstat(target)
    changed = (want.st_uid, want.st_gid, want.st_mode) != (have.st_uid, have.st_gid, have.st_mode)
    os.fchown(target, want.st_uid, want.st_gid)
    os.fchmod(target, stat.S_IMODE(want.st_mode))
    _copy_xattrs(source, target)
    os.utime(target, ns=(want.st_atime_ns, want.st_mtime_ns))
    return changed


class _Copy:
    """One run: where each hard-linked file went, as a path below the top."""

    def __init__(self, top: int, check: Callable[[], None]) -> None:
        self._top = top
        self._check = check
        self._linked: dict[tuple[int, int], str] = {}
        self.shared = Shared()

    def folder(
        self, source: int, target: int, path: str, depth: int = 0, earlier: int | None = None
    ) -> None:
        """Copy the entries of one directory, and theirs."""
        if depth > DEPTH_MAX:
            raise TooDeep(path[:100])
        with os.scandir(source) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            self._check()
            with suppress(FileNotFoundError):  # it went away meanwhile: the source may be in use
                self._entry((source, target, earlier), name, f"{path}{name}", depth)

    def _entry(
        self, folders: tuple[int, int, int | None], name: str, path: str, depth: int
    ) -> None:
        source, target, earlier = folders
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._subfolder(folders, name, path, depth)
            return
        if stat.S_ISREG(status.st_mode):
            self.shared.files += 1
            self.shared.bytes += status.st_size
            if earlier is not None and _link_same(earlier, target, name, status):
                self.shared.shared_files += 1
                return
        known = self._linked.get((status.st_dev, status.st_ino))
        if known is not None:
            os.link(known, name, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
            return
        if stat.S_ISREG(status.st_mode):
            _copy_file(source, target, name, self._check)
        else:
            _copy_special(source, target, name, status)
        if status.st_nlink > 1:
            self._linked[status.st_dev, status.st_ino] = path

    def _subfolder(
        self, folders: tuple[int, int, int | None], name: str, path: str, depth: int
    ) -> None:
        source, target, earlier = folders
        with ExitStack() as opened:

            def open_(folder: int) -> int:
                fd = os.open(name, FOLDER, dir_fd=folder)
                opened.callback(os.close, fd)
                return fd

            inner_source, inner_earlier = open_(source), None
            os.mkdir(name, 0o700, dir_fd=target)
            inner_target = open_(target)
            if earlier is not None:
                with suppress(FileNotFoundError, NotADirectoryError):
                    inner_earlier = open_(earlier)
            self.folder(inner_source, inner_target, f"{path}/", depth + 1, inner_earlier)
            copy_metadata(inner_source, inner_target)


def _link_same(earlier: int, target: int, name: str, status: os.stat_result) -> bool:
    """Link to the earlier copy of a file if it is the same; whether it is."""
    try:
        found = os.stat(name, dir_fd=earlier, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if _signature(found) != _signature(status):
        return False
    os.link(name, name, src_dir_fd=earlier, dst_dir_fd=target, follow_symlinks=False)
    return True


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
    )


def _copy_special(source: int, target: int, name: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=target)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        # we made it a moment ago and nobody else writes here: it cannot be a link
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
    _copy_xattrs(_by_proc(source, name), _by_proc(target, name))
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _by_proc(fd: int, name: str) -> str:
    """A path of an entry for calls that know no directory descriptor."""
    return f"/proc/thread-self/fd/{fd}/{name}"


def _copy_file(source: int, target: int, name: str, check: Callable[[], None]) -> None:
    # NONBLOCK: should it be a fifo by now, do not hang
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        writing = os.open(name, flags, 0o600, dir_fd=target)
        try:
            copy_bytes(reading, writing, check=check)
            copy_metadata(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_bytes(reading: int, writing: int, *, check: Callable[[], None]) -> None:
    """Copy a file's bytes and holes into an empty one; ``check`` may raise to stop."""
    size = os.fstat(reading).st_size
    for start, end in _extents(reading, size):
        _copy_extent(reading, writing, start, end, check)
    os.ftruncate(writing, size)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file has data; what lies between is holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _copy_extent(
    reading: int, writing: int, start: int, end: int, check: Callable[[], None]
) -> None:
    while start < end:
        check()
        copied = _copy_range(reading, writing, start, min(end - start, CHUNK_BYTES))
        if copied == 0:
            return  # the file became shorter
        start += copied


def _copy_range(reading: int, writing: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(reading, writing, count, at, at)
    except OSError as exc:
        if exc.errno not in NO_COPY_RANGE:
            raise
    os.lseek(writing, at, os.SEEK_SET)
    return os.sendfile(writing, reading, at, count)


def _copy_xattrs(source: int | str, target: int | str) -> None:
    follow = not isinstance(source, str)  # a descriptor has nothing to follow
    try:
        names = os.listxattr(source, follow_symlinks=follow)
    except OSError as exc:
        if exc.errno != errno.EOPNOTSUPP:
            raise
        return  # a file system that has none
    for name in names:
        if name.startswith(SKIPPED_XATTRS):
            continue
        value = os.getxattr(source, name, follow_symlinks=follow)
        try:
            os.setxattr(target, name, value, follow_symlinks=follow)
        except OSError as exc:
            # a volume on a file system without user attributes is still a volume
            if exc.errno != errno.EOPNOTSUPP or name == "security.capability":
                raise
