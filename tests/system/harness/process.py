"""A child process that says when it is ready, and whose end is seen without polling."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MS_PER_S = 1000


class Notes:
    """A datagram socket on which a child reports: systemd's protocol, or the crash harness's."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> str:
        return self._socket.recv(65536).decode("utf-8", "replace")

    def drain(self) -> list[str]:
        """All that was said and not received yet."""
        said: list[str] = []
        while _readable([self.fileno()], 0):
            said += self.receive().splitlines()
        return said

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class Child:
    """One started process."""

    popen: subprocess.Popen[bytes]
    pidfd: int

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self.pidfd, number)

    def wait(self, within_s: float) -> int:
        """Its exit status, negative for a signal; fails if it lives on."""
        if not _readable([self.pidfd], within_s):
            raise AssertionError(f"pid {self.pid} still runs after {within_s} s")
        return self.popen.wait()

    def is_alive(self) -> bool:
        return not _readable([self.pidfd], 0)

    def wait_note(self, notes: Notes, wanted: str, within_s: float) -> str:
        """The first note that starts a line with ``wanted``; fails when the child ends first."""
        while ready := _readable([notes.fileno(), self.pidfd], within_s):
            if notes.fileno() not in ready:
                raise AssertionError(f"ended with {self.popen.wait()} before it said {wanted}")
            for line in notes.receive().splitlines():
                if line.startswith(wanted):
                    return line
        raise AssertionError(f"did not say {wanted} within {within_s} s")

    def end(self) -> None:
        """Make sure it is gone."""
        if self.is_alive():
            self.signal(signal.SIGKILL)
        self.popen.wait()
        os.close(self.pidfd)


def start(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> Child:
    """Start a process whose output is appended to ``log``."""
    with log.open("ab") as out:
        popen = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    return Child(popen=popen, pidfd=os.pidfd_open(popen.pid))


def _readable(fds: Sequence[int], within_s: float) -> set[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(int(within_s * MS_PER_S))}
