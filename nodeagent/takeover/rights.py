"""The right to be the agent of a root and a run directory: a lock on each, and takeover.sock.

A lock belongs to the open file (flock), so a copy of the descriptor in the next agent holds the
same lock: nobody else can get in between.
"""

import fcntl
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from netdrivers.keep import Keep, Wanted
from nodeagent.errors import Conflict

SOCKET: Final = "takeover.sock"
LISTENER: Final = "takeover"  # name of its listener among what is handed over
BACKLOG: Final = 8
AGAIN_S: Final = 0.02
DYING_S: Final = 3.0  # for an agent that was killed to be gone; a guess
WITHOUT: Final = "stop that one, its containers run on; or replace it: serve --takeover"
WITH: Final = "it cannot hand over, being older or not ready yet: stop it, its containers run on"


class Rights:
    """What one agent holds alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._locks: dict[str, int] = {}
        self._listener: socket.socket | None = None

    @property
    def listener(self) -> socket.socket:
        """Where successors ask."""
        if self._listener is None:
            raise Conflict("the right to be the agent was given up", path=self._path)
        return self._listener

    async def acquire(self, directories: Sequence[Path], keep: Keep, *, takeover: bool) -> None:
        """Take over what ``keep`` has of a former agent, the rest anew.

        Raises:
            Conflict: another agent has one of the directories.
        """
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
            name = f"lock/{len(self._locks)}"
            fd = self._locks[name] = _open_lock(directory / "lock", keep.take_fd(name))
            with trio.move_on_after(DYING_S if takeover else 0):
                while not _try_lock(fd):  # noqa: ASYNC110  a thread that waits could not be cancelled
                    await trio.sleep(AGAIN_S)
            if not _try_lock(fd):
                text = f"another agent uses the directory; {WITH if takeover else WITHOUT}"
                raise Conflict(text, path=str(directory))
        made = _under_way(self._path)
        wanted = Wanted(type=socket.SOCK_SEQPACKET, address=os.fspath(made), listens=True)
        handed = keep.take(LISTENER, wanted) if self._path.is_socket() else None
        self._listener = handed or _open_listener(self._path)

    def tell(self, keep: Keep) -> None:
        """Add all to what is handed on."""
        for name, fd in self._locks.items():
            keep.put(name, fd)
        keep.put(LISTENER, self.listener.fileno())

    def give_up(self) -> None:
        """Close our copies: the next agent has its own."""
        for fd in self._locks.values():
            os.close(fd)
        self._locks.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Let go of all that was not given up."""
        if self._listener is not None:
            self._path.unlink(missing_ok=True)
        self.give_up()


@asynccontextmanager
async def open_rights(
    root: Path, run: Path, keep: Keep, *, takeover: bool
) -> AsyncIterator[Rights]:
    """Be the only agent of both directories until the block ends, or they are given up.

    Raises:
        Conflict: another agent has one of the directories.
    """
    rights = Rights(run / SOCKET)
    try:
        await rights.acquire((root, run), keep, takeover=takeover)
        yield rights
    finally:
        rights.close()


def _open_lock(path: Path, handed: int | None) -> int:
    """The handed descriptor if it is of this file, else a new one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if handed is None:
        return fd
    is_same = os.path.sameopenfile(fd, handed)
    os.close(fd if is_same else handed)
    return handed if is_same else fd


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _under_way(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _open_listener(path: Path) -> socket.socket:
    """Listen at ``path``; as we hold the lock of its directory, what is there is a dead agent's."""
    made = _under_way(path)
    made.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        sock.bind(os.fspath(made))
        made.chmod(0o600)
        sock.listen(BACKLOG)
        made.rename(path)
    except BaseException:
        sock.close()
        raise
    return sock
