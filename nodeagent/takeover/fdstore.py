"""systemd keeps our sockets over a restart, also after a crash.

Stored are the sockets of names and the held ports: queries and connections wait in them until the
next start gets them back, as descriptors from 3 on. Listeners of our own are not: who finds no
agent shall be told so at once.

Source: sd_notify(3) FDSTORE, FDSTOREREMOVE, FDNAME, FDPOLL; sd_listen_fds(3).
"""

import array
import logging
import os
import socket
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Final, NoReturn

import trio

log = logging.getLogger(__name__)

FIRST_FD: Final = 3
STORED: Final = ("dns-", "port/")  # beginnings of the names of what is stored
# As FileDescriptorStoreMax in the unit. Names are at most 60 characters, and systemd joins them to
# one string of the environment, of which the kernel takes no more than 128 KiB.
STORE_MAX: Final = 2048


def take_listen_fds(environ: MutableMapping[str, str]) -> dict[str, int]:
    """The descriptors systemd started us with, by name; no child of ours shall think them its."""
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, int] = {}
    for fd, name in zip(range(FIRST_FD, FIRST_FD + int(count)), names, strict=False):
        os.set_inheritable(fd, False)
        if name in found:
            os.close(found[name])
        found[name] = fd
    return found


def is_systemds(environ: Mapping[str, str]) -> bool:
    """Whether systemd started this very process as a service (systemd 248 and later)."""
    return environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


class FdStore:
    """What systemd holds for us. Nothing happens where it did not start us.

    Args:
        stored: names of what it passed at the start, and still holds.
    """

    def __init__(self, environ: Mapping[str, str], stored: Iterable[str] = ()) -> None:
        address = environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._address = address if is_systemds(environ) else ""
        # systemd 254 and later tell; there is none where the unit allows no descriptors
        limit = environ.get("FDSTORE", str(STORE_MAX))
        self._max = int(limit) if limit.isdecimal() else 0
        self._stored = set(stored)
        self._is_full = False
        self._queue: deque[tuple[bytes, int]] = deque()
        self._work = trio.Event()

    def put(self, name: str, fd: int) -> None:
        """Have a copy of it stored, if it is of a kind that is and there is room."""
        if not self._address or not name.startswith(STORED) or name in self._stored:
            return
        if len(self._stored) >= self._max:
            if not self._is_full:
                log.warning("systemd's descriptor store is full", extra={"max": self._max})
            self._is_full = True
            return
        self._stored.add(name)
        # FDPOLL=0: a socket that only holds a port looks hung up, and would be thrown out
        self._send(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", os.dup(fd))

    def drop(self, name: str) -> None:
        """Have it thrown out."""
        if self._address and name in self._stored:
            self._stored.discard(name)
            self._is_full = False
            self._send(f"FDSTOREREMOVE=1\nFDNAME={name}", -1)

    def _send(self, text: str, fd: int) -> None:
        self._queue.append((text.encode(), fd))
        self._work.set()

    async def run(self) -> NoReturn:
        """Tell systemd, in order; it may let us wait."""
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            while True:
                await self._work.wait()
                self._work = trio.Event()
                while self._queue:
                    await self._tell(sock, *self._queue.popleft())

    async def _tell(self, sock: trio.socket.SocketType, text: bytes, fd: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        try:
            await sock.sendmsg([text], rights, 0, self._address)
        except OSError as exc:
            log.warning("systemd was not told of a socket", extra={"error": str(exc)})
        finally:
            if fd >= 0:
                os.close(fd)
