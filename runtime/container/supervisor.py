"""Processes that outlive the agent: known by pid and start time, awaited through pidfds.

Nothing here polls, and no task stays behind: each waiter has a pidfd of its own, so a waiter costs
one descriptor and a new agent waits exactly as the old one did.

A pid alone proves nothing: PID 1 may reap late, so a zombie is an ended process here, and a number
may be given to somebody else, so the start time must agree.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from runtime.contract.container import Exit, Process

PROC: Final = Path("/proc")
CODE_UNKNOWN: Final = 255
EXIT_FILE: Final = "exit"
OOM_FILE: Final = "oom"
RECORD_FILE: Final = "record.json"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What we noted of a container once it was made; no record: it was never finished."""

    pid: int
    ticks: int
    conmon_pid: int
    conmon_ticks: int
    tty: bool
    stdin: bool
    runtime: str

    def process(self) -> Process:
        """As the contract says it."""
        return Process(pid=self.pid, conmon_pid=self.conmon_pid, started_ticks=self.ticks)


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time (clock ticks) of /proc/PID/stat; the name may hold anything."""
    fields = text.rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else ("X", 0)


def read_ticks(pid: int) -> int:
    """When the process began, 0 if it has ended (a zombie has)."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0  # anything else, no descriptor left for one, says nothing of the process
    state, ticks = parse_stat(text)
    return 0 if state in {"Z", "X"} else ticks


def is_alive(pid: int, ticks: int) -> bool:
    """Whether that very process runs."""
    return pid > 0 and ticks > 0 and read_ticks(pid) == ticks


def open_pidfd(pid: int, ticks: int) -> int | None:
    """A descriptor of exactly that process, or None if it has ended."""
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        alive = is_alive(pid, ticks)
    except OSError:
        os.close(fd)
        raise
    if alive:
        return fd
    os.close(fd)
    return None


async def wait_gone(pid: int, ticks: int) -> None:
    """Return when the process has ended."""
    fd = open_pidfd(pid, ticks)
    if fd is None:
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def send_signal(pid: int, ticks: int, number: int) -> bool:
    """Signal exactly that process; False if it has ended."""
    fd = open_pidfd(pid, ticks)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, signal.Signals(number) if number in ALL else number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


ALL: Final = frozenset(int(each) for each in signal.Signals)


async def kill_and_wait(pids: Sequence[int]) -> None:
    """SIGKILL processes and return when they have ended."""
    known = [(pid, read_ticks(pid)) for pid in pids]
    for pid, ticks in known:
        send_signal(pid, ticks, signal.SIGKILL)
    for pid, ticks in known:
        await wait_gone(pid, ticks)


async def end(pid: int, ticks: int, *, within_s: float) -> None:
    """Give a process some time to end by itself, then SIGKILL it; return when it has ended."""
    with trio.move_on_after(within_s):
        await wait_gone(pid, ticks)
        return
    send_signal(pid, ticks, signal.SIGKILL)
    await wait_gone(pid, ticks)


def find_conmons(bundle: Path) -> Iterator[tuple[int, int]]:
    """Pid and start time of every conmon that watches ``bundle``: one pass over /proc."""
    needle = os.fsencode(f"--bundle={bundle}")
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and needle in _command_line(entry.path):
            pid = int(entry.name)
            if ticks := read_ticks(pid):
                yield pid, ticks


def _command_line(path: str) -> list[bytes]:
    try:
        words = Path(path, "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return words if words[0].endswith(b"/conmon") else []


def read_pid(path: Path) -> int:
    """A pid file's number, 0 if there is none."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def read_exit(directory: Path) -> Exit | None:
    """How the container ended, if conmon (or we, for it) wrote that down."""
    path = directory / EXIT_FILE
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
        finished_at = path.stat().st_mtime
    except OSError:
        return None
    code = int(text) if text.isdigit() else CODE_UNKNOWN
    oom_killed = (directory / OOM_FILE).exists()
    return Exit(code=code, finished_at=finished_at, oom_killed=oom_killed)


def write_exit(directory: Path, code: int) -> None:
    """Note an end that conmon could not note; whole or not at all."""
    write_whole(directory / EXIT_FILE, str(code).encode())


def read_record(directory: Path) -> Record | None:
    """The record of a finished create, None if there is none or it is torn."""
    try:
        return msgspec.json.decode((directory / RECORD_FILE).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def write_record(directory: Path, record: Record) -> None:
    """Note a finished create; whole or not at all."""
    write_whole(directory / RECORD_FILE, msgspec.json.encode(record))


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file at once. Not synced: after a power cut nothing it speaks of is left."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.rename(path)
