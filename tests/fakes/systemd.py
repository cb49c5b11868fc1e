"""A service manager's file descriptor store, on a real socket.

It does what sd_notify(3) and systemd's service.c say: keeps a copy of what comes with FDSTORE=1
under its FDNAME, throws out what hangs up unless FDPOLL=0, forgets by name at FDSTOREREMOVE=1,
keeps no more than the unit allows, and starts the service with all of it as descriptors from 3 on.
There is no systemd where these tests run: that it does the same is for ``tests/vm`` to show.
"""

import array
import os
import select
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

FIRST_FD = 3
ROOM = 4096
# Run as the service's process: puts the descriptors named by number where systemd does.
EXEC = """
import fcntl, os, sys
count = int(sys.argv[1])
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 1000) for fd in sys.argv[2:2 + count]]
for place, fd in enumerate(high, 3):
    os.dup2(fd, place)
os.environ |= {"SYSTEMD_EXEC_PID": str(os.getpid())}
if count:
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execvp(sys.argv[2 + count], sys.argv[2 + count:])
"""


class Systemd:
    """One service's notify socket and store. A thread reads, as the manager would at once."""

    def __init__(self, path: Path, *, store_max: int = 512) -> None:
        self.path = path
        self.store: list[tuple[str, int]] = []  # name, our descriptor
        self.said: list[str] = []
        self._max = store_max
        self._polled: set[int] = set()
        self._moved = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="systemd")
        self._thread.start()

    def names(self) -> list[str]:
        with self._moved:
            return sorted(name for name, _ in self.store)

    def wait_said(self, wanted: str, within_s: float) -> None:
        """Until the service has said it, since the last ``forget``."""
        with self._moved:
            done = self._moved.wait_for(lambda: wanted in self.said, within_s)
            assert done, f"it did not say {wanted}, only {self.said}"

    def wait_names(self, wanted: Sequence[str], within_s: float) -> None:
        """Until exactly these are stored."""
        with self._moved:
            done = self._moved.wait_for(
                lambda: sorted(n for n, _ in self.store) == sorted(wanted), within_s
            )
            assert done, f"stored are {sorted(n for n, _ in self.store)}, not {sorted(wanted)}"

    def forget(self) -> None:
        """Forget what was said."""
        with self._moved:
            self.said.clear()

    def start(self, argv: Sequence[str]) -> tuple[list[str], dict[str, str], tuple[int, ...]]:
        """How to start the service: arguments, environment, descriptors to pass."""
        with self._moved:
            fds = tuple(fd for _, fd in self.store)
            environ: Mapping[str, str] = {
                "NOTIFY_SOCKET": str(self.path),
                "FDSTORE": str(self._max),
                "LISTEN_FDNAMES": ":".join(name for name, _ in self.store),
            }
        words = [sys.executable, "-c", EXEC, str(len(fds)), *map(str, fds), *argv]
        return words, dict(environ), fds

    def close(self) -> None:
        os.write(self._stopper, b"x")
        self._thread.join()
        for fd in (*(fd for _, fd in self.store), self._stop, self._stopper):
            os.close(fd)
        self._socket.close()

    # --- in the thread ------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._stop, select.POLLIN)
            poll.register(self._socket, select.POLLIN)
            for fd in self._polled:
                poll.register(fd, 0)  # hang-ups and errors come unasked
            ready = dict(poll.poll())
            if self._stop in ready:
                return
            with self._moved:
                self._drop([fd for _, fd in self.store if fd in ready])
                if self._socket.fileno() in ready:
                    self._receive()
                self._moved.notify_all()

    def _receive(self) -> None:
        data, rights, _, _ = self._socket.recvmsg(ROOM, socket.CMSG_SPACE(253 * 4))
        fds = array.array("i")
        for _level, _kind, raw in rights:
            fds.frombytes(raw)
        lines = data.decode().splitlines()
        self.said += lines
        words = dict(line.partition("=")[::2] for line in lines)
        name = words.get("FDNAME", "stored")
        if words.get("FDSTOREREMOVE") == "1":
            self._drop([fd for each, fd in self.store if each == name])
        for fd in fds:
            self._take(name, fd, is_polled=words.get("FDPOLL") != "0")

    def _take(self, name: str, fd: int, *, is_polled: bool) -> None:
        is_known = any(os.path.sameopenfile(fd, other) for _, other in self.store)
        if is_known or len(self.store) >= self._max:
            os.close(fd)
            return
        self.store.append((name, fd))
        if is_polled:
            self._polled.add(fd)

    def _drop(self, fds: Sequence[int]) -> None:
        self.store = [(name, fd) for name, fd in self.store if fd not in fds]
        for fd in fds:
            self._polled.discard(fd)
            os.close(fd)
