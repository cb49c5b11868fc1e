"""The door to the kernel's newer calls about paths and mounts: trees we do not trust.

Source: openat2(2) Linux 5.6, renameat2(2), syncfs(2), open_tree(2) and move_mount(2) Linux 5.2,
mount_setattr(2) Linux 5.12, setns(2), umount(2).
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

# the same numbers on every architecture
SYS_OPEN_TREE: Final = 428
SYS_MOVE_MOUNT: Final = 429
SYS_OPENAT2: Final = 437
SYS_MOUNT_SETATTR: Final = 442
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_IN_ROOT: Final = 0x10
RENAME_NOREPLACE: Final = 1
AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
OPEN_TREE_CLONE: Final = 1
MOVE_MOUNT_F_EMPTY_PATH: Final = 4
MOUNT_ATTR_RDONLY: Final = 1
CLONE_NEWNS: Final = 0x20000
MNT_DETACH: Final = 2
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
        return _syscall(
            path,
            SYS_OPENAT2,
            ctypes.c_int(root_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    finally:
        os.close(root_fd)


def rename_new(name: str, source_fd: int, target_fd: int) -> None:
    """Move an entry between two directories; FileExistsError if the target has one of that name.

    Where the file system cannot do that in one step (NFS, most of FUSE), it is looked up first.
    """
    try:
        _rename(name, source_fd, name, target_fd, RENAME_NOREPLACE)
    except OSError as exc:
        if exc.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise
        if _exists(name, target_fd):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from exc
        os.rename(name, name, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def _exists(name: str, fd: int) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


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


class _MountAttr(ctypes.Structure):
    _fields_ = (  # type: ignore[mutable-override]  # ctypes wants it so
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def take_tree(path: str, *, read_only: bool) -> int:
    """A copy of the mount at ``path`` that is mounted nowhere yet; a descriptor."""
    raw = ctypes.c_char_p(os.fsencode(path))
    tree = _syscall(
        path, SYS_OPEN_TREE, ctypes.c_int(AT_FDCWD), raw,
        ctypes.c_uint(OPEN_TREE_CLONE | os.O_CLOEXEC),
    )  # fmt: skip
    if read_only:
        attr = _MountAttr(MOUNT_ATTR_RDONLY, 0, 0, 0)
        _syscall(
            path, SYS_MOUNT_SETATTR, ctypes.c_int(tree), ctypes.c_char_p(b""),
            ctypes.c_uint(AT_EMPTY_PATH), ctypes.byref(attr),
            ctypes.c_size_t(ctypes.sizeof(attr)),
        )  # fmt: skip
    return tree


def enter_mounts(namespace: int) -> None:
    """Enter a mount namespace, and its root; only in a process of one thread."""
    _call("", "setns", ctypes.c_int(namespace), ctypes.c_int(CLONE_NEWNS))


def put_tree(tree: int, path: str) -> None:
    """Mount a detached copy at ``path``, in the place of what is mounted there."""
    raw = ctypes.c_char_p(os.fsencode(path))
    _call(path, "umount2", raw, ctypes.c_int(MNT_DETACH))
    _syscall(
        path, SYS_MOVE_MOUNT, ctypes.c_int(tree), ctypes.c_char_p(b""), ctypes.c_int(AT_FDCWD),
        raw, ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH),
    )  # fmt: skip


def _syscall(path: str, number: int, *args: object) -> int:
    return _call(path, "syscall", ctypes.c_long(number), *args)


def sync_filesystem(fd: int) -> None:
    """Write all that is dirty on the file system of ``fd`` to the disk."""
    _call("", "syncfs", ctypes.c_int(fd))


def _call(path: str, name: str, *args: object) -> int:
    result = int(getattr(ctypes.CDLL(None, use_errno=True), name)(*args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result
