"""Reading the log that conmon writes, in its k8s-file form: parts joined, tail, time, follow.

A record is ``2026-01-31T12:00:00.123456789+00:00 stdout F text``; ``P`` marks a part of a line.
Rotated files are ``ctr.log.1`` (newest) and up. conmon writes to the renamed file until it was told
to open a new one, so a follower first drains the old file and then changes over.

Source: conmon 2.1 ctr_logging.c; KEP-2411.
"""

import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final, Literal

import trio

from runtime.container.inotify import Watch
from runtime.contract.container import LogLine

CHUNK_BYTES: Final = 64 << 10
JOIN_MAX_BYTES: Final = 1 << 20  # a longer line comes in pieces
LINE_MAX_BYTES: Final = 1 << 20  # conmon writes 8 KiB at most; more than that is not its file
ROTATED: Final = re.compile(r"\.(\d{1,4})$")
NS: Final = 1_000_000_000
RECORD: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?: |$)"
)
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  compared with its like only


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the file."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    whole: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What part of a log is wanted; 0 is no bound."""

    follow: bool = False
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1

    def takes(self, line: LogLine) -> bool:
        return line.time_ns >= self.since_ns

    def is_past(self, line: LogLine) -> bool:
        return bool(self.until_ns) and line.time_ns > self.until_ns


@lru_cache(maxsize=64)
def _seconds(text: bytes, zone: bytes) -> int:
    """Seconds since the epoch; cached, for neighbours share their second."""
    moment = datetime.strptime(text.decode(), "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007  zone below
    if zone != b"Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment = moment + shift if zone[:1] == b"-" else moment - shift
    return (moment - EPOCH) // timedelta(seconds=1)


def parse_record(line: bytes) -> Record | None:
    """One line without its newline; None if it is none of conmon's (a torn write)."""
    match = RECORD.match(line)
    if match is None:
        return None
    text, fraction, zone, stream, tag = match.groups()
    try:
        seconds = _seconds(text, zone)
    except (ValueError, OverflowError):
        return None
    return Record(
        time_ns=seconds * NS + int((fraction or b"0").ljust(9, b"0")),
        stream="stdout" if stream == b"stdout" else "stderr",
        whole=tag == b"F",
        data=line[match.end() :],
    )


class Joiner:
    """Bytes of the file in, lines as the program wrote them out."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: dict[str, list[Record]] = {"stdout": [], "stderr": []}
        self._sizes = {"stdout": 0, "stderr": 0}

    def feed(self, data: bytes) -> Iterator[LogLine]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            self._rest = b""
        for line in lines:
            record = parse_record(line)
            if record is not None and (joined := self._join(record)) is not None:
                yield joined

    def flush(self) -> Iterator[LogLine]:
        """Lines that never ended; empty afterwards."""
        pending = [parts for parts in self._parts.values() if parts]
        for parts in sorted(pending, key=lambda each: each[0].time_ns):
            yield self._take(parts[0].stream, whole=False)

    def _join(self, record: Record) -> LogLine | None:
        self._parts[record.stream].append(record)
        self._sizes[record.stream] += len(record.data)
        if record.whole or self._sizes[record.stream] >= JOIN_MAX_BYTES:
            return self._take(record.stream, whole=record.whole)
        return None

    def _take(self, stream: Literal["stdout", "stderr"], *, whole: bool) -> LogLine:
        parts, self._parts[stream], self._sizes[stream] = self._parts[stream], [], 0
        data = b"".join(part.data for part in parts) + (b"\n" if whole else b"")
        return LogLine(time_ns=parts[0].time_ns, stream=stream, data=data)


def _is_whole(line: bytes) -> bool | None:
    """Whether a raw line ends a line of the program; None if it is no record."""
    match = RECORD.match(line)
    return None if match is None else match.group(5) == b"F"


def _lines_backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Raw lines, last first, each with the offset just behind it."""
    end = file.seek(0, os.SEEK_END)
    rest = b""
    at = end
    while at:
        size = min(CHUNK_BYTES, at)
        file.seek(at - size)
        at -= size
        block = file.read(size) + rest
        rest, *lines = block.split(b"\n")
        behind = at + len(block)
        for line in reversed(lines):
            yield behind, line
            behind -= len(line) + 1
    yield len(rest) + 1, rest


def find_tail(file: BinaryIO, count: int) -> tuple[int, int]:
    """Where the last ``count`` lines begin, and how many of them there are in this file.

    Only the end of the file is read.
    """
    seen = 0
    for behind, line in _lines_backwards(file):
        whole = _is_whole(line)
        if whole or (whole is False and seen == 0):  # parts at the very end are a line too
            if seen == count:
                return behind, count
            seen += 1
    return 0, seen


def list_files(path: Path) -> list[Path]:
    """The log with its rotated files, oldest first; the current one last, there or not."""
    old = [
        (int(match.group(1)), entry)
        for entry in path.parent.glob(f"{path.name}.*")
        if (match := ROTATED.search(entry.name))
    ]
    return [*(entry for _, entry in sorted(old, reverse=True)), path]


def rotate(path: Path, keep: int) -> None:
    """Rename the log to ``.1``, ``.1`` to ``.2`` …, and delete what is beyond ``keep``."""
    names = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, keep + 1))]
    for entry in list_files(path)[:-1]:
        if entry not in names[:-1]:
            entry.unlink(missing_ok=True)
    for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
        if newer.exists():
            newer.rename(older)
    if not keep:
        path.unlink(missing_ok=True)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def open_files(path: Path, tail: int) -> list[BinaryIO]:
    """Open what has to be read, oldest first, each placed where reading begins."""
    files: list[BinaryIO] = []
    left = tail
    for each in reversed(list_files(path)):
        file = _open(each)
        if file is None:
            continue
        files.insert(0, file)
        if tail >= 0:
            offset, found = find_tail(file, left)
            file.seek(offset)
            left -= found
            if left <= 0:
                break
    return files


class _Source:
    """Bytes of the log across rotation."""

    def __init__(
        self, path: Path, files: Sequence[BinaryIO], limiter: trio.CapacityLimiter
    ) -> None:
        self._path = path
        self._files = list(files)
        self._limiter = limiter

    async def read(self) -> bytes:
        """The next bytes; b"" when there are none now."""
        while self._files:
            data = await trio.to_thread.run_sync(
                self._files[0].read, CHUNK_BYTES, limiter=self._limiter
            )
            if data or len(self._files) == 1:
                return data
            self._files.pop(0).close()
        return b""

    def advance(self) -> bool:
        """Open the files that came after the current one, if there are some."""
        newer: list[BinaryIO] = []
        for path in reversed(list_files(self._path)):
            file = _open(path)
            if file is None:
                continue
            if self._files and os.path.sameopenfile(self._files[-1].fileno(), file.fileno()):
                file.close()
                break
            newer.insert(0, file)
        self._files += newer
        return bool(newer)

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()


async def read_log(
    path: Path,
    query: Query,
    ended: Callable[[], Awaitable[None]],
    *,
    limiter: trio.CapacityLimiter,
    now_ns: Callable[[], int],
) -> AsyncGenerator[LogLine, None]:
    """Lines of a log, oldest first; with ``follow`` until ``ended`` returns.

    A line of the program is one record, but for lines over 1 MiB, which come in pieces.
    """
    watch = Watch(path.parent) if query.follow and path.parent.is_dir() else None
    files = await trio.to_thread.run_sync(open_files, path, query.tail, limiter=limiter)
    source, joiner = _Source(path, files, limiter), Joiner()
    try:
        over = watch is None
        while True:
            data = await source.read()
            lines = joiner.feed(data) if data else iter(())
            if not data and not source.advance():
                if over:
                    lines, data = joiner.flush(), b"last"
                elif watch is not None:
                    over = await _wait(watch, ended, query, now_ns)
            for line in lines:
                if query.is_past(line):
                    return
                if query.takes(line):
                    yield line
            if data == b"last":
                return
    finally:
        source.close()
        if watch is not None:
            watch.close()


async def _wait(
    watch: Watch, ended: Callable[[], Awaitable[None]], query: Query, now_ns: Callable[[], int]
) -> bool:
    """Return when the log changed (False), or the container ended or time is up (True)."""
    over = False
    left_s = (query.until_ns - now_ns()) / NS if query.until_ns else float("inf")
    with trio.move_on_after(max(left_s, 0)) as scope:
        async with trio.open_nursery() as nursery:

            async def wait_ended() -> None:
                nonlocal over
                await ended()
                over = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_ended)
            await watch.wait()
            nursery.cancel_scope.cancel()
    return over or scope.cancelled_caught
