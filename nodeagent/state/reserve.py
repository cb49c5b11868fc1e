"""Room on the disk that is kept for the state: a full disk can be cleared through the agent.

Removing anything is a commit before it frees a byte. Where that commit finds no room, the reserve
is given back to the file system and the commit tried again.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 1 << 20  # some hundred commits
FREE_BYTES: Final = 16 << 20  # with less the reserve is not made anew


class Reserve:
    """A file of zeros beside the database. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.reserve")

    def spend(self) -> bool:
        """Give the room back; False if that has been done."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def renew(self) -> None:
        """Take the room, where there is plenty; nothing to do if it is taken."""
        if self._path.exists():
            return
        found = os.statvfs(self._path.parent)
        if found.f_bavail * found.f_frsize < FREE_BYTES:
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with suppress(OSError):  # then it is smaller, or of no use on this file system
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
        finally:
            os.close(fd)
