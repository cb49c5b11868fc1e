"""Output between a container and a client that reads slowly: in memory, then on disk, then no more.

conmon waits for its clients, so whoever receives from it must never wait for one of ours.
"""

import os
import tempfile
from collections import deque
from pathlib import Path
from typing import IO, Final, Self

import trio

from nodeagent.errors import Exhausted

MEMORY_BYTES: Final = 1 << 20
DISK_BYTES: Final = 256 << 20
READ_BYTES: Final = 256 << 10
HEAD_BYTES: Final = 5  # one for the stream, four for the length
STREAMS: Final = ("stdout", "stderr")


class Backlog:
    """Pieces in order. One puts, one gets.

    Once memory is full all goes to the file until that is read to its end, so the order is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pieces: deque[tuple[str, bytes]] = deque()
        self._memory = 0
        self._file: IO[bytes] | None = None
        self._written = self._read = 0
        self._closed = False
        self._news = trio.Event()

    async def put(self, stream: str, data: bytes) -> None:
        """Add a piece; never waits for who gets.

        Raises:
            Exhausted: too far behind, or the disk is full.
        """
        if self._written == self._read and self._memory < MEMORY_BYTES:
            self._keep(stream, data)
        else:
            await self._spill(stream, data)
        self._news.set()

    def _keep(self, stream: str, data: bytes) -> None:
        self._pieces.append((stream, data))
        self._memory += len(data)

    async def _spill(self, stream: str, data: bytes) -> None:
        frame = bytes([STREAMS.index(stream)]) + len(data).to_bytes(4, "big") + data
        if self._written - self._read + len(frame) > DISK_BYTES:
            raise Exhausted(
                "the client reads too slowly and is cut off; what it missed is in the log",
                behind_bytes=self._written - self._read,
            )
        try:
            await trio.to_thread.run_sync(self._append, frame)
        except OSError as exc:
            raise Exhausted(
                "no room for the output of a client that reads slowly; it is in the log",
                why=exc.strerror,
            ) from exc
        self._written += len(frame)

    def _append(self, frame: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        os.pwrite(self._file.fileno(), frame, self._written)

    async def get(self) -> tuple[str, bytes] | None:
        """The next piece; None after the last one, once it was closed."""
        while not self._pieces:
            if self._read < self._written:
                await self._fetch()
            elif self._closed:
                return None
            else:
                self._news = trio.Event()
                await self._news.wait()
        stream, data = self._pieces.popleft()
        self._memory -= len(data)
        return stream, data

    async def _fetch(self) -> None:
        """Read some frames back; a file that is read to its end begins anew."""
        if self._file is None:
            return
        fd, size = self._file.fileno(), min(READ_BYTES, self._written - self._read)
        raw = await trio.to_thread.run_sync(os.pread, fd, size, self._read)
        at = 0
        while at + HEAD_BYTES <= len(raw):
            end = at + HEAD_BYTES + int.from_bytes(raw[at + 1 : at + HEAD_BYTES], "big")
            if end > len(raw):
                break
            self._keep(STREAMS[raw[at]], raw[at + HEAD_BYTES : end])
            at = end
        self._read += at
        if self._read == self._written:
            self._read = self._written = 0

    def close(self) -> None:
        """There is no more to come."""
        self._closed = True
        self._news.set()

    def __enter__(self) -> Self:
        """Its file, if it needs one, is gone at the end of the block."""
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._file is not None:
            self._file.close()
