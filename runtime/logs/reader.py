"""Reading a log over all its files: tail, time, follow, and places to go on from.

A follower keeps its file open over a rotation: it first reads what conmon still writes to it, and
changes over when the next one is there. Files that were dropped before it came to them are told.
"""

import os
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import trio

from runtime.contract.logs import Cursor, LogLine, Query
from runtime.logs.generations import (
    CHUNK_BYTES,
    Opened,
    list_rotated,
    open_current,
    open_rotated,
    same_file,
)
from runtime.logs.record import NS, Joiner, is_whole

DAMAGED: Final = (EOFError, OSError, zlib.error)  # of a compressed file that is not whole


class Wakes(Protocol):
    """Says when to look again."""

    async def wait(self) -> None: ...

    def close(self) -> None: ...


class Pace:
    """Looks again after a while: costs no inotify instance, of which a host has few."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s

    async def wait(self) -> None:
        await trio.sleep(self._period_s)

    def close(self) -> None:
        """Nothing is held."""


# --- where to begin ---------------------------------------------------------------------------


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
    lines = _lines_backwards(file)
    next(lines)  # behind the last newline: nothing, or a record that is not whole yet
    for behind, line in lines:
        whole = is_whole(line)
        if whole or (whole is False and seen == 0):  # parts at the very end are a line too
            if seen == count:
                return behind, count
            seen += 1
    return 0, seen


def find_packed_tail(file: BinaryIO, count: int) -> tuple[int, int]:
    """The same for a file that can be read forwards only: once to count, once to go there."""
    total = sum(1 for line in file if line.endswith(b"\n") and is_whole(line[:-1]))
    file.seek(0)
    skip, at = max(total - count, 0), 0
    while skip and (line := file.readline()):
        at += len(line)
        skip -= bool(is_whole(line[:-1]))
    return at, min(total, count)


def _open_all(path: Path) -> list[Opened]:
    """All files, oldest first."""
    while True:
        current = open_current(path)
        found = [opened for each in list_rotated(path) if (opened := open_rotated(each))]
        if current is None or not found or found[-1].number < current.number:
            return [*found, current] if current else found
        _close([*found, current])  # rotated in between


def _close(files: Sequence[Opened]) -> None:
    for each in files:
        each.file.close()


def _split(files: Sequence[Opened], least: int) -> list[Opened]:
    """Those from a number on; the others are closed."""
    _close([each for each in files if each.number < least])
    return [each for each in files if each.number >= least]


def open_files(path: Path, query: Query) -> tuple[list[Opened], int]:
    """What has to be read, oldest first, each placed where reading begins; and what is lost.

    Lost are the files between ``query.after`` and the first one that is left behind it.
    """
    files = _open_all(path)
    if query.after is not None:
        return _from(files, query.after)
    if query.tail < 0:
        return files, 0
    left = query.tail
    for n, each in reversed(list(enumerate(files))):
        find = find_packed_tail if each.packed else find_tail
        try:
            offset, found = find(each.file, left)
        except DAMAGED:
            offset, found = 0, 0  # what can be read of it is shown
        each.file.seek(offset)
        left -= found
        if left <= 0:
            _close(files[:n])
            return files[n:], 0
    return files, 0


def _from(files: list[Opened], after: Cursor) -> tuple[list[Opened], int]:
    rest = _split(files, after.generation)
    if not rest:
        return [], 0
    if rest[0].number == after.generation:
        rest[0].file.seek(after.offset)
    return rest, rest[0].number - after.generation


# --- reading ----------------------------------------------------------------------------------


class Source:
    """Bytes of the log across rotation."""

    def __init__(
        self,
        path: Path,
        files: Sequence[Opened],
        limiter: trio.CapacityLimiter,
        *,
        after: Cursor | None = None,
        lost: int = 0,
    ) -> None:
        self._path = path
        self._files = list(files)
        self._limiter = limiter
        self._least = after.generation if after else 0
        self.joiner = Joiner()
        self._lost = lost
        self._begin()

    def _begin(self) -> None:
        if self._files:
            self.joiner.begin(self._files[0].number, self._files[0].file.tell())

    async def read(self) -> list[LogLine] | None:
        """The lines of the next chunk, perhaps none; None when there is nothing now."""
        if self._lost:
            lost, self._lost = self._lost, 0
            here = Cursor(generation=self._files[0].number, offset=0)
            return [LogLine(time_ns=0, stream="stderr", data=b"", cursor=here, lost=lost)]
        while self._files:
            data, damaged = await self._chunk()
            if data:
                return list(self.joiner.feed(data))
            if len(self._files) == 1:
                return None
            over = self._files.pop(0)
            over.file.close()
            self._lost = self._files[0].number - over.number - 1 + damaged
            self._begin()
            if self._lost:
                return await self.read()
        return None

    async def _chunk(self) -> tuple[bytes, bool]:
        """What comes next in the first file; and whether its rest cannot be read."""
        read = self._files[0].file.read
        try:
            data = await trio.to_thread.run_sync(read, CHUNK_BYTES, limiter=self._limiter)
        except DAMAGED:
            if not self._files[0].packed:
                raise
            return b"", True
        return data, False

    def advance(self) -> bool:
        """Open the files that came after the last one, if there are some."""
        if not self._files:
            self._files = _split(_open_all(self._path), self._least)
            self._begin()
            return bool(self._files)
        last = self._files[-1]
        if not self._path.exists() or same_file(last.file, self._path):
            return False
        newer = _split(_open_all(self._path), last.number + 1)
        self._files += newer
        return bool(newer)

    def close(self) -> None:
        """Close all."""
        _close(self._files)
        self._files.clear()


async def read_batches(
    path: Path,
    query: Query,
    ended: Callable[[], Awaitable[object]],
    *,
    limiter: trio.CapacityLimiter,
    wakes: Wakes | None,
    now_ns: Callable[[], int],
) -> AsyncGenerator[list[LogLine], None]:
    """Lines of a log, oldest first, as they come; with ``wakes`` until ``ended`` returns.

    A line of the program is one record, but for lines over 1 MiB, which come in pieces. The end
    comes even where the container has ended with the file put aside: what is there is read first.
    """
    files, lost = await trio.to_thread.run_sync(open_files, path, query, limiter=limiter)
    source = Source(path, files, limiter, after=query.after, lost=lost)
    try:
        over = wakes is None
        while True:
            lines = await source.read()
            if lines:
                yield lines
            elif lines is None and not source.advance():
                if over:
                    break
                assert wakes is not None  # noqa: S101  over without them
                over = await _wait(wakes, ended, query, now_ns)
        if last := list(source.joiner.flush()):
            yield last
    finally:
        source.close()
        if wakes is not None:
            wakes.close()


async def read_log(
    path: Path,
    query: Query,
    ended: Callable[[], Awaitable[object]],
    *,
    limiter: trio.CapacityLimiter,
    wakes: Wakes | None,
    now_ns: Callable[[], int],
) -> AsyncGenerator[LogLine, None]:
    """The lines one by one, and only those that the query wants."""
    batches = read_batches(path, query, ended, limiter=limiter, wakes=wakes, now_ns=now_ns)
    try:
        async for lines in batches:
            for line in lines:
                if query.is_past(line):
                    return
                if line.lost or query.takes(line):
                    yield line
    finally:
        await batches.aclose()


async def _wait(
    wakes: Wakes,
    ended: Callable[[], Awaitable[object]],
    query: Query,
    now_ns: Callable[[], int],
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
            await wakes.wait()
            nursery.cancel_scope.cancel()
    return over or scope.cancelled_caught
