"""A writable layer that is full at a size: a sparse file with ext4 in it, on a loop device.

The file appears whole or not at all; the loop device goes with its mount, also after a kill.
Source: Linux include/uapi/linux/loop.h; mke2fs(8), e2fsck(8), resize2fs(8).
"""

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime import errors, mounting
from runtime.container import oci

IMAGE: Final = "disk.img"
DRAFT: Final = "disk.img.new"
GROWING: Final = "disk.img.growing"
PLACE: Final = "disk"
LEAST_BYTES: Final = 16 << 20
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
AUTOCLEAR: Final = 4  # LO_FLAGS_AUTOCLEAR
TRIES: Final = 16  # another process may take the free device first


async def make_disk(home: Path, size_bytes: int) -> None:
    """Make the file, or grow it to this size unless it is mounted; it never shrinks.

    Raises:
        Exhausted: larger than the file system below. Refused: what mkfs or resize2fs says.
    """
    if size_bytes < LEAST_BYTES:
        raise errors.Invalid("the least size is 16m", field="storage_size_bytes", value=size_bytes)
    image, growing = home / IMAGE, home / GROWING
    has = image.stat().st_size if image.exists() else 0
    if has >= size_bytes or home / PLACE in mounting.mount_points():
        return
    room = os.statvfs(home)
    if size_bytes > room.f_blocks * room.f_frsize:
        raise errors.Exhausted("the writable layer would be larger than the disk", bytes=size_bytes)
    if has:
        image.rename(growing)  # so a growth that was cut off is seen, and done again
    if growing.exists():
        await _grow(growing, size_bytes)
        growing.rename(image)
    else:
        await _make(image, size_bytes)


async def _make(image: Path, size_bytes: int) -> None:
    draft = image.with_name(DRAFT)
    draft.unlink(missing_ok=True)
    _enlarge(draft, size_bytes)
    await _say("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", str(draft))
    draft.rename(image)


async def _grow(image: Path, size_bytes: int) -> None:
    await _say("e2fsck", "-f", "-p", str(image), fine=(0, 1))  # resize2fs insists
    await _say("resize2fs", str(image), f"{size_bytes >> 10}K")


async def _say(*argv: str, fine: Sequence[int] = (0,)) -> None:
    done = await oci.run(argv)
    if done.code not in fine:
        raise errors.Refused("make the writable layer's file system", says=done.tail)


def _enlarge(path: Path, size_bytes: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(fd, max(size_bytes, os.fstat(fd).st_size))
    finally:
        os.close(fd)


# --- in a thread ---------------------------------------------------------------------------------


def upper_home(home: Path) -> Path:
    """Where ``upper`` and ``work`` are: on the disk, mounted by now, if there is one."""
    image, place = home / IMAGE, home / PLACE
    if not image.exists():
        return home
    if place not in mounting.mount_points():
        place.mkdir(mode=0o700, exist_ok=True)
        loop = _attach(image)
        try:
            mounting.mount_device(Path(f"/proc/self/fd/{loop}").readlink(), place, "ext4")
        finally:
            os.close(loop)
    return place


def _attach(image: Path) -> int:
    """An open loop device of the file; it is given back at the last close or unmount."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(TRIES):
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, _loop_config(backing, image))
            except OSError as exc:
                os.close(device)
                if exc.errno != errno.EBUSY:
                    raise
            else:
                return device
    finally:
        os.close(control)
        os.close(backing)
    raise errors.Busy("attach a loop device", path=image, tries=TRIES)


def _loop_config(backing: int, image: Path) -> bytes:
    """``struct loop_config``: the file, a block size of the kernel's choice, ``loop_info64``."""
    name = os.fsencode(image)[-63:]
    info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, AUTOCLEAR, name, b"", b"", 0, 0)
    return struct.pack("=2I", backing, 0) + info + bytes(64)
