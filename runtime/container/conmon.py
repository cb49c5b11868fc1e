"""conmon: its command line and what it says on the sync pipe. Pure, but for `SyncPipe.read`.

Source: conmon 2.1 cli.c, runtime_args.c, parent_pipe_fd.c.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from runtime.errors import Internal, Unavailable

API_VERSION: Final = "1"
MESSAGE_MAX_BYTES: Final = 64 << 10
PIPE_READ_BYTES: Final = 16 << 10
TEMPORARY_MAX: Final = 107 - len("/conmon-term.XXXXXX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What conmon is to watch, and how."""

    conmon: str
    runtime: tuple[str, ...]
    container_id: str
    bundle: Path  # attach socket and control fifos appear here
    live: Path  # pid files, and conmon writes "exit" and "oom" here
    temporary: Path  # where the terminal's socket may be for a moment
    tty: bool
    stdin: bool
    keep_stdin: bool
    log: Path | None = None
    exec_process: Path | None = None

    @property
    def conmon_pid_file(self) -> Path:
        return self.live / "conmon.pid"

    def env(self) -> dict[str, str]:
        """Conmon makes its terminal's socket in TMPDIR and cuts a longer address off."""
        path = str(self.temporary)
        return {"TMPDIR": path} if len(path) <= TEMPORARY_MAX else {}

    def argv(self) -> list[str]:
        """The command line; paths with "=" so that none can be read as an option."""
        first, *rest = self.runtime
        argv = [
            self.conmon,
            f"--api-version={API_VERSION}",
            f"--cid={self.container_id}",
            f"--cuuid={self.container_id}",
            f"--runtime={first}",
            *(f"--runtime-arg={arg}" for arg in rest),
            f"--bundle={self.bundle}",
            f"--container-pidfile={self.live / 'pid'}",
            f"--conmon-pidfile={self.conmon_pid_file}",
            f"--persist-dir={self.live}",
            f"--log-path={self._log()}",
            "--full-attach",
            "--no-sync-log",
            "--log-level=error",
        ]
        return argv + list(self._flags())

    def _log(self) -> str:
        return "none" if self.log is None else f"k8s-file:{self.log}"

    def _flags(self) -> Iterator[str]:
        if self.tty:
            yield "--terminal"
        if self.stdin:
            yield "--stdin"
        if self.stdin and self.keep_stdin:
            yield "--leave-stdin-open"
        if self.exec_process is not None:
            yield "--exec"
            yield "--exec-attach"
            yield f"--exec-process-spec={self.exec_process}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One message of conmon: a pid, an exit code, or a negative number and the reason."""

    data: int
    message: str = ""


def parse_word(line: bytes) -> Word:
    """Decode one line; conmon copies a runtime's stderr byte by byte, so be lenient in strings."""
    try:
        value = json.loads(line.decode("utf-8", errors="replace"), strict=False)
    except ValueError as exc:
        raise Internal("read conmon's message", text=line[:200]) from exc
    if not isinstance(value, dict) or not isinstance(value.get("data"), int):
        raise Internal("read conmon's message", text=line[:200])
    return Word(data=int(value["data"]), message=str(value.get("message", "")).strip())


class Words:
    """Bytes in, whole messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Word]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MESSAGE_MAX_BYTES:
            raise Internal("read conmon's message", reason="too long")
        return [parse_word(line) for line in lines if line.strip()]


class SyncPipe:
    """The reading end of conmon's sync pipe."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self._stream = stream
        self._words = Words()
        self._ready: list[Word] = []

    async def read(self) -> Word:
        """The next message; Unavailable if conmon ended without one."""
        while not self._ready:
            data = await self._stream.receive_some(PIPE_READ_BYTES)
            if not data:
                raise Unavailable("hear from conmon", reason="it ended without a word")
            self._ready = self._words.feed(bytes(data))
        return self._ready.pop(0)

    async def aclose(self) -> None:
        await self._stream.aclose()
