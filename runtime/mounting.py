"""The door to mount(2), umount2(2) and syncfs(2). All of it blocks: call it in a thread."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_PRIVATE: Final = 1 << 18
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_IDMAP = 0x1, 0x00100000
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
# The kernel copies one page of mount data, the final NUL included.
DATA_MAX_BYTES: Final = 4095
# These separate or escape options; which of them the kernel lets one escape depends on its version.
SPECIAL: Final = frozenset(b",:\\")


class _MountAttributes(ctypes.Structure):
    _fields_ = (  # type: ignore[mutable-override]  # ctypes wants it so
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_overlay(target: Path, lower: Sequence[Path], upper: Path, work: Path) -> None:
    """Mount an overlay; ``lower`` is topmost first, as the kernel wants it.

    Raises:
        OSError: the kernel's answer.
    """
    names = [os.fsencode(path) for path in (*lower, upper, work)]
    data = _overlay_data(names)
    if len(data) <= DATA_MAX_BYTES and not any(SPECIAL & set(name) for name in names):
        _mount(b"overlay", os.fsencode(target), b"overlay", data)
        return
    with _by_descriptor(names) as short:
        _mount(b"overlay", os.fsencode(target), b"overlay", _overlay_data(short))


def mount_tmpfs(target: Path, options: str) -> None:
    """Mount a tmpfs on which nothing is a program or a device (OSError: the kernel's answer)."""
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount(b"tmpfs", os.fsencode(target), b"tmpfs", options.encode(), flags=safe)


def mount_device(device: Path, target: Path, kind: str) -> None:
    """Mount a file system of a block device (OSError: the kernel's answer)."""
    _mount(os.fsencode(device), os.fsencode(target), kind.encode(), b"")


def clone_tree(source: Path, *, namespace: int = -1, read_only: bool = False) -> int:
    """A descriptor of the mounts at and below ``source``, in nobody's sight and private.

    Args:
        namespace: descriptor of a user namespace that maps the owners of all files; -1 none.

    Raises:
        OSError: EINVAL if the file system cannot map owners, or the kernel's answer.
    """
    flags = OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC
    name = ctypes.c_char_p(os.fsencode(source))
    tree = _call("open_tree", ctypes.c_int(AT_FDCWD), name, ctypes.c_uint(flags))
    wanted = _MountAttributes(propagation=MS_PRIVATE)
    if namespace >= 0:
        wanted.attr_set |= MOUNT_ATTR_IDMAP
        wanted.userns_fd = namespace
    if read_only:
        wanted.attr_set |= MOUNT_ATTR_RDONLY
    try:
        _call(
            "mount_setattr", ctypes.c_int(tree), ctypes.c_char_p(b""),
            ctypes.c_uint(AT_EMPTY_PATH | AT_RECURSIVE), ctypes.byref(wanted),
            ctypes.c_size_t(ctypes.sizeof(wanted)),
        )  # fmt: skip
    except OSError:
        os.close(tree)
        raise
    return tree


def attach_tree(tree: int, target: Path) -> None:
    """Mount what ``clone_tree`` gave, which is closed."""
    try:
        _call(
            "move_mount", ctypes.c_int(tree), ctypes.c_char_p(b""), ctypes.c_int(AT_FDCWD),
            ctypes.c_char_p(os.fsencode(target)), ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH),
        )  # fmt: skip
    finally:
        os.close(tree)


def unmount(target: Path, flags: int = 0) -> None:
    """Unmount ``target``, never through a symbolic link (OSError: the kernel's answer)."""
    _call("umount2", ctypes.c_char_p(os.fsencode(target)), ctypes.c_int(flags | UMOUNT_NOFOLLOW))


def mount_points() -> list[Path]:
    """Where something is mounted in this mount namespace, bottom first."""
    text = Path("/proc/self/mountinfo").read_bytes()
    return [Path(os.fsdecode(_unescape(line.split(b" ")[4]))) for line in text.splitlines()]


def sync_filesystem(path: Path) -> None:
    """Write everything of the file system that holds ``path`` to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("syncfs", ctypes.c_int(fd))
    finally:
        os.close(fd)


def _overlay_data(names: Sequence[bytes]) -> bytes:
    """Join options; index and metacopy would bind the layers to this one mount."""
    *lower, upper, work = names
    pairs = (b"lowerdir=" + b":".join(lower), b"upperdir=" + upper, b"workdir=" + work)
    return b",".join((*pairs, b"index=off", b"metacopy=off"))


@contextmanager
def _by_descriptor(names: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Name directories by open descriptors: 17 bytes each, and no character needs escaping."""
    with ExitStack() as stack:
        fds = []
        for name in names:
            fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fds.append(fd)
        yield [b"/proc/self/fd/%d" % fd for fd in fds]


def _mount(source: bytes, target: bytes, kind: bytes, data: bytes, *, flags: int = 0) -> None:
    words = [ctypes.c_char_p(word) for word in (source, target, kind)]
    _call("mount", *words, ctypes.c_ulong(flags), ctypes.c_char_p(data))


def _call(name: str, *args: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = int(libc[name](*args))
    if answer < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")
    return answer


def _unescape(field: bytes) -> bytes:
    """Undo mountinfo's octal escapes (space, tab, newline, backslash)."""
    head, *rest = field.split(b"\\")
    return head + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
