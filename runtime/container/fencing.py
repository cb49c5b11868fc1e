"""The agent's side of the watchdog: starts it, finds it again, and writes what it goes by."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from runtime.container.cgroups import Cgroup, parse_mountinfo, set_conmon_apart
from runtime.container.fence import boot_s
from runtime.contract.fence import Book, Ward
from runtime.errors import Unavailable

FILE: Final = "fence.json"
ROOT: Final = str(Path(__file__).resolve().parents[2])  # where the program is found from "/"
MODULE: Final = "runtime.container.fence"


class WatchdogFence:
    """``runtime.contract.fence.Fence``: one process an agent, while there is anything to watch."""

    def __init__(self, run: Path, *, cgroup_parent: str) -> None:
        self._path = run / FILE
        self._parent = cgroup_parent.strip("/")
        self._layout = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        self._turn = trio.Lock()
        self._child: trio.Process | None = None  # if it is ours to reap
        self._pidfd = -1
        self._pid = 0

    def now_s(self) -> float:
        """The boot clock."""
        return boot_s()

    async def read(self) -> Book:
        """What it goes by; nothing after a start of the machine."""
        return await trio.to_thread.run_sync(self._read)

    def _read(self) -> Book:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Book)
        except (FileNotFoundError, msgspec.DecodeError):
            return Book()

    async def write(self, session: int, node: str, wards: Sequence[Ward]) -> None:
        """The file first: who starts reads it.

        Raises:
            Unavailable: the watchdog cannot be started, so nothing may run that needs it.
        """
        async with self._turn:
            if not wards:
                await self._end()
                return
            book = Book(session=session, node=node, wards=list(wards))
            await trio.to_thread.run_sync(self._write, msgspec.json.encode(book))
            if self._is_alive() and _is_stopped(self._pid):  # by whom ever: it watches nothing
                await self._kill()
            if not self._is_alive() and not await trio.to_thread.run_sync(self._adopt):
                await self._start()

    def _write(self, raw: bytes) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(raw)
        new.replace(self._path)

    async def _end(self) -> None:
        """Without its file it ends by itself."""
        self._path.unlink(missing_ok=True)
        if self._is_alive() or await trio.to_thread.run_sync(self._adopt):
            await self._kill()

    def _is_alive(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            self._let_go()
        if self._pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            self._let_go()
            return False
        return True

    async def _kill(self) -> None:
        """It keeps nothing. Or one that ends would be found, and taken for one that watches."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        await trio.lowlevel.wait_readable(self._pidfd)
        if self._child is not None:
            await self._child.wait()
        self._let_go()

    def _let_go(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd, self._child = -1, None

    def _adopt(self) -> bool:
        """Whether a former agent's runs; then it is ours."""
        sought = [MODULE.encode(), str(self._path).encode()]
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):  # it ended while we looked
                pidfd = os.pidfd_open(int(entry.name))
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[2:4] == sought and not _is_stopped(int(entry.name)):
                    self._pidfd, self._pid = pidfd, int(entry.name)
                    return True
                os.close(pidfd)
        return False

    async def _start(self) -> None:
        nothing = os.open(os.devnull, os.O_RDWR)  # who reads our output must not wait for it, too
        try:
            self._child = await trio.lowlevel.open_process(
                [sys.executable, "-m", MODULE, str(self._path), self._parent],
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                start_new_session=True,  # neither the terminal nor our end is its end
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": ROOT,
                     "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        except OSError as exc:
            raise Unavailable("start the watchdog of volume leases", errno=exc.errno) from exc
        finally:
            os.close(nothing)
        self._pid = self._child.pid
        self._pidfd = os.pidfd_open(self._pid)
        set_conmon_apart(self._layout, self._parent, self._child.pid)

    def is_frozen(self, container: str) -> bool:
        """Whether the container's processes stand still."""
        return Cgroup(layout=self._layout, path=f"/{self._parent}/{container}").is_frozen()


def _is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger holds it, or it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"T", "t", "Z", "X"}
