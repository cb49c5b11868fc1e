"""Wake-ups when files of a directory change. The door to inotify; a wake-up carries no data.

Source: inotify(7).
"""

import ctypes
import os
from pathlib import Path
from typing import Final

import trio

from runtime.errors import Exhausted

MODIFY: Final = 0x002
MOVED_FROM: Final = 0x040
MOVED_TO: Final = 0x080
CREATE: Final = 0x100
CHANGED: Final = MODIFY | MOVED_FROM | MOVED_TO | CREATE
DRAIN_BYTES: Final = 16 << 10


class Watch:
    """An inotify descriptor on one directory."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise Exhausted("watch log", errno=ctypes.get_errno(), limit="max_user_instances")
        if libc.inotify_add_watch(self._fd, os.fsencode(directory), CHANGED) < 0:
            code = ctypes.get_errno()
            self.close()
            raise Exhausted("watch log", path=directory, errno=code, limit="max_user_watches")

    async def wait(self) -> None:
        """Return once something changed since the last call."""
        await trio.lowlevel.wait_readable(self._fd)
        try:
            while os.read(self._fd, DRAIN_BYTES):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
