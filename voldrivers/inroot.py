"""The door to openat2, renameat2 and syncfs: paths in trees we do not trust.

Source: openat2(2) Linux 5.6, renameat2(2), syncfs(2).
"""

import ctypes
import os
from pathlib import Path
from typing import Final

SYS_OPENAT2: Final = 437  # the same number on every architecture
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_IN_ROOT: Final = 0x10
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (  # type: ignore[mutable-override]  # ctypes wants it so
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_folder_in(root: Path, path: str) -> int:
    """Open a directory as a process chrooted to ``root`` would find it (OSError as os.open)."""
    return _open_in(root, path, os.O_RDONLY | os.O_DIRECTORY)


def open_path_in(root: Path, path: str) -> int:
    """The same for whatever is there, to mount it; it cannot be read (O_PATH)."""
    return _open_in(root, path, os.O_PATH)


def _open_in(root: Path, path: str, flags: int) -> int:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        return _call(
            path,
            "syscall",
            ctypes.c_long(SYS_OPENAT2),
            ctypes.c_int(root_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    finally:
        os.close(root_fd)


def rename_new(name: str, source_fd: int, target_fd: int) -> None:
    """Move an entry between two directories; FileExistsError if the target has one of that name."""
    _rename(name, source_fd, name, target_fd, RENAME_NOREPLACE)


def exchange(fd: int, name: str, other: str) -> None:
    """Let two entries of a directory change their names, in one step."""
    _rename(name, fd, other, fd, RENAME_EXCHANGE)


def _rename(name: str, source_fd: int, new: str, target_fd: int, flags: int) -> None:
    _call(
        name,
        "renameat2",
        ctypes.c_int(source_fd),
        ctypes.c_char_p(os.fsencode(name)),
        ctypes.c_int(target_fd),
        ctypes.c_char_p(os.fsencode(new)),
        ctypes.c_uint(flags),
    )


def sync_filesystem(fd: int) -> None:
    """Write all that is dirty on the file system of ``fd`` to the disk."""
    _call("", "syncfs", ctypes.c_int(fd))


def _call(path: str, name: str, *args: object) -> int:
    result = int(getattr(ctypes.CDLL(None, use_errno=True), name)(*args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result
