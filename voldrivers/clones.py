"""Copies of volumes that share blocks where the file system can, by FICLONE or file by file.

Source: ioctl_ficlone(2); copy_file_range(2) shares blocks by itself on btrfs and xfs.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import trio

from voldrivers.contract import CloneMethod
from voldrivers.copytree import TooDeep, copy_contents, copy_metadata
from voldrivers.errors import Refused
from voldrivers.folders import DATA, DATA_MODE, Folders, make_folder
from voldrivers.inroot import FOLDER, sync_filesystem

FICLONE: Final = 0x40049409  # _IOW(0x94, 9, int)
NO_REFLINK: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)


async def clone_folder(folders: Folders, name: str, target: str) -> CloneMethod:
    """Make a directory volume of the tree another one has; whole and on disk, or not at all.

    What is written meanwhile may be in it or not, file by file.
    """
    if await folders.has(target):
        return "copy"  # made before a kill: it has its name, so it is whole
    async with folders.making(target) as outer:
        copy = partial(_copy, name=name, new=outer.name)
        return await folders.run("copy the volume", name, copy, slow=True)


def _copy(fd: int, name: str, new: str) -> CloneMethod:
    with _folder(fd, f"{name}/{DATA}") as source:
        make_folder(fd, f"{new}/{DATA}", DATA_MODE)
        with _folder(fd, f"{new}/{DATA}") as copied:
            try:
                copy_contents(source, copied, check=trio.from_thread.check_cancelled)
            except TooDeep as exc:
                raise Refused("the volume is nested too deeply", name=name, at=str(exc)) from exc
            copy_metadata(source, copied)
            sync_filesystem(copied)
        return "reflink" if _can_reflink(fd, new) else "copy"


def _can_reflink(fd: int, outer: str) -> bool:
    """Whether copies within the file system share their blocks: tried with an empty file."""
    with _folder(fd, outer) as place:
        name = f".trash-{secrets.token_hex(8)}"
        one = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place)
        try:
            os.write(one, b"x" * 4096)
            two = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600, dir_fd=place)
            try:
                return reflink(one, two)
            finally:
                os.close(two)
        finally:
            os.close(one)
            os.unlink(name, dir_fd=place)


def reflink(source: int, target: int) -> bool:
    """Let an empty file share all blocks of another; False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as exc:
        if exc.errno not in NO_REFLINK:
            raise
        return False
    return True


@contextmanager
def _folder(parent: int, path: str) -> Iterator[int]:
    fd = os.open(path, FOLDER, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
