"""The gate a created container waits at: the runtime's exec fifo in its state directory.

crun's init waits for a byte from a writer; runc's writes one as soon as somebody reads. Opening the
gate ourselves saves a process (3 ms; 8 ms where crun must be wrapped). Both runtimes take a missing
fifo as "has started", so it is unlinked last: killed in between, the container runs, and
`Gate.is_shut` sees by the process's name that it does.

Source: crun status.c, runc container_linux.go and standard_init_linux.go.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from runtime.container import supervisor
from runtime.errors import Missing

INIT_NAMES: Final = frozenset({"crun", "runc:[2:INIT]"})
READ_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Where one container waits."""

    fifo: Path
    runtime: str
    pid: int
    ticks: int

    def is_shut(self) -> bool:
        """Whether the program has not been executed yet."""
        if not self.fifo.is_fifo() or not supervisor.is_alive(self.pid, self.ticks):
            return False
        comm = Path(f"/proc/{self.pid}/comm")
        try:
            return comm.read_text(encoding="utf-8", errors="replace").strip() in INIT_NAMES
        except OSError:
            return False

    def settle(self) -> None:
        """Do what an agent killed in the middle of `open` did not come to."""
        if not self.is_shut():
            self.fifo.unlink(missing_ok=True)

    async def open(self) -> None:
        """Let the program be executed; Missing if the container has ended meanwhile."""
        if self.runtime == "runc":
            await self._read()
        else:
            self._write()
        self.fifo.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            fd = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno in {errno.ENXIO, errno.ENOENT}:
                raise Missing("start container", reason="it has ended") from exc
            raise
        try:
            os.write(fd, b"\0")
        finally:
            os.close(fd)

    async def _read(self) -> None:
        fd = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            async with trio.open_nursery() as nursery:

                async def stop_when_gone() -> None:
                    await supervisor.wait_gone(self.pid, self.ticks)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop_when_gone)
                while True:  # the end comes when the program has been executed
                    await trio.lowlevel.wait_readable(fd)
                    if not os.read(fd, READ_BYTES):
                        break
                nursery.cancel_scope.cancel()
        finally:
            os.close(fd)
