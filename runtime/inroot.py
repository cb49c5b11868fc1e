"""Paths inside a root filesystem whose content is hostile: no link leads out. The door to openat2.

Source: openat2(2), Linux 5.6.
"""

import ctypes
import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

SYS_OPENAT2: Final = 437  # the same number on every architecture
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_IN_ROOT: Final = 0x10
FILE_MAX_BYTES: Final = 4 << 20
DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (  # type: ignore[mutable-override]  # ctypes wants it so
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in(root_fd: int, path: str, flags: int) -> int:
    """Open a path as a process chrooted to ``root_fd`` would; OSError as `os.open` raises it."""
    libc = ctypes.CDLL(None, use_errno=True)
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    raw = os.fsencode(path)
    fd = int(libc.syscall(SYS_OPENAT2, root_fd, raw, ctypes.byref(how), ctypes.sizeof(how)))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def read_file(root: Path, path: str) -> bytes:
    """Read a regular file inside ``root``; FileNotFoundError if there is none of that kind."""
    root_fd = os.open(root, DIRECTORY)
    try:
        # NONBLOCK: a fifo of that name must not hang us
        fd = open_in(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(root_fd)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
        return file.read(FILE_MAX_BYTES)


def make_directory(root: Path, path: str, *, owner: int = 0) -> None:
    """Create a directory and its parents inside ``root``; NotADirectoryError if a file is there.

    Args:
        owner: user and group of those that are created.
    """
    root_fd = os.open(root, DIRECTORY)
    try:
        if _exists(root_fd, path):
            return
        done = PurePosixPath("/")
        for part in PurePosixPath(path).parts[1:]:
            parent = open_in(root_fd, str(done), DIRECTORY)
            try:
                _mkdir(part, parent, owner)
            finally:
                os.close(parent)
            done /= part
        os.close(open_in(root_fd, str(done), DIRECTORY))
    finally:
        os.close(root_fd)


def _exists(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in(root_fd, path, DIRECTORY))
    except FileNotFoundError:
        return False
    return True


def _mkdir(name: str, parent: int, owner: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return
    os.chown(name, owner, owner, dir_fd=parent, follow_symlinks=False)
