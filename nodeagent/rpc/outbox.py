"""What is to be sent on one connection: joined, in order, and bounded."""

from typing import Final

import trio

_HIGH_BYTES: Final = 256 << 10  # producers wait above this; about one socket buffer


class Outbox:
    """Many producers, one writer; all that is ready in one wake-up goes in one send."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._work = trio.Event()
        self._room = trio.Event()
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Say whether ``put`` would wait."""
        return self._held_bytes >= _HIGH_BYTES and not self._is_closed

    async def put(self, data: bytes) -> None:
        """Queue bytes; waits while the peer reads slower than we send."""
        while self.is_full:
            await self._room.wait()
        self.put_nowait(data)

    def put_nowait(self, data: bytes) -> None:
        """Queue bytes whatever the peer does; for a few small ones. Dropped after the end."""
        if self._is_closed:
            return
        self._parts.append(data)
        self._held_bytes += len(data)
        self._work.set()

    async def wait_sent(self) -> None:
        """Wait until all that was queued is sent, or dropped."""
        while self._held_bytes and not self._is_closed:
            await self._room.wait()

    async def run(self) -> None:
        """Send what is queued until cancelled or the connection breaks; then drop the rest."""
        try:
            while True:
                await self._work.wait()
                self._work = trio.Event()
                await self._send_all()
        finally:
            self._is_closed = True
            self._room.set()

    async def _send_all(self) -> None:
        data = b"".join(self._parts)
        self._parts.clear()
        await self._stream.send_all(data)
        self._held_bytes -= len(data)
        if self._held_bytes < _HIGH_BYTES:
            self._room.set()
            self._room = trio.Event()
