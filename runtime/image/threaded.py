"""Bytes that blocking work in a thread makes, for a task to read; the thread waits for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from runtime import errors
from runtime.image.ingest import failure_of

PIECE_BYTES: Final = 1 << 18
AHEAD: Final = 4  # pieces that may wait for the reader


class _Pieces:
    """The reader's end: a failure of the work is raised where the bytes would have come."""

    def __init__(self, channel: trio.MemoryReceiveChannel[bytes]) -> None:
        self._channel = channel
        self.failure: Exception | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._channel.receive()
        except trio.EndOfChannel:
            if self.failure is not None:
                raise self.failure from None
            raise StopAsyncIteration from None


class _Buffer:
    """The thread's end: gathers small writes."""

    def __init__(self, channel: trio.MemorySendChannel[bytes]) -> None:
        self._channel = channel
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            trio.from_thread.run(self._channel.send, bytes(self._waiting))
            self._waiting.clear()


@asynccontextmanager
async def written(
    doing: str, work: Callable[[Callable[[bytes], None]], None], limiter: trio.CapacityLimiter
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Run ``work`` with a function that takes bytes, and read them; leaving early ends it."""
    sender, receiver = trio.open_memory_channel[bytes](AHEAD)
    pieces = _Pieces(receiver)

    def run() -> None:
        buffer = _Buffer(sender)
        work(buffer.write)
        buffer.flush()

    async def produce() -> None:
        with sender:
            try:
                await trio.to_thread.run_sync(run, limiter=limiter)
            except OSError as exc:
                pieces.failure = failure_of(doing, exc)
            except errors.RunError as exc:
                pieces.failure = exc

    failure = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        try:
            yield pieces
        except Exception as exc:  # noqa: BLE001
            failure = exc  # raised below, so that no group is made of it
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
