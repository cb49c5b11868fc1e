"""Deleting and measuring trees that a container filled as it liked. Blocking: call in a thread."""

import os
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from voldrivers.inroot import FOLDER

DEPTH_MAX: Final = 200  # levels we walk down; each holds a descriptor
BLOCK_BYTES: Final = 512  # unit of st_blocks


def delete_tree(parent_fd: int, name: str) -> None:
    """Delete a directory and all in it, whatever its depth; nothing to do if it is gone.

    A subdirectory is first moved up beside the top one, then emptied in its turn. So the depth
    costs neither descriptors nor stack, links are never followed, and we never enter something
    that is mounted there: the kernel refuses to move a mount point (OSError EBUSY).
    """
    pending = [name]
    while pending:
        current = pending[-1]
        try:
            fd = os.open(current, FOLDER, dir_fd=parent_fd)
        except FileNotFoundError:
            pending.pop()
            continue
        try:
            pending += _empty(fd, parent_fd)
        finally:
            os.close(fd)
        pending.remove(current)
        os.rmdir(current, dir_fd=parent_fd)


def _empty(fd: int, parent_fd: int) -> list[str]:
    """Unlink all that is no directory and move the directories up; their new names."""
    moved: list[str] = []
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            new = f".trash-{secrets.token_hex(8)}"
            os.rename(name, new, src_dir_fd=fd, dst_dir_fd=parent_fd)
            moved.append(new)
        else:
            os.unlink(name, dir_fd=fd)
    return moved


class TooMuch(Exception):
    """The tree is too deep, or the walk took longer than it may."""


@dataclass(slots=True)
class Size:
    """Disk use of a tree; a file with several names counts once."""

    bytes: int = 0
    inodes: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, status: os.stat_result) -> None:
        """Count one entry."""
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if key in self._seen:
                return
            self._seen.add(key)
        self.bytes += status.st_blocks * BLOCK_BYTES
        self.inodes += 1


def measure_tree(fd: int, *, budget_s: float, check: Callable[[], None]) -> Size:
    """Add up the tree below ``fd``; ``check`` is called once a directory and may raise.

    Raises:
        TooMuch: more than ``budget_s`` or ``DEPTH_MAX``.
    """
    size = Size()
    size.add(os.fstat(fd))
    _measure(fd, size, time.monotonic() + budget_s, check, DEPTH_MAX)
    return size


def _measure(fd: int, size: Size, until: float, check: Callable[[], None], depth: int) -> None:
    check()
    if depth == 0 or time.monotonic() > until:
        raise TooMuch
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                size.add(status)
                inner = os.open(entry.name, FOLDER, dir_fd=fd) if _is_folder(status) else -1
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away or changed while we looked
            if inner >= 0:
                try:
                    _measure(inner, size, until, check, depth - 1)
                finally:
                    os.close(inner)


def _is_folder(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode)
