"""Who may change the kernel: steps of different objects at once, or one pass over everything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Gate:
    """A step of one object keeps out another one of the same, and a pass over everything."""

    def __init__(self) -> None:
        self._changed = trio.Condition()
        self._busy: set[str] = set()
        self._whole = False
        self._waiting = 0  # passes over everything that wait; no new step overtakes them

    @asynccontextmanager
    async def step(self, object_id: str) -> AsyncIterator[None]:
        """Wait for the object's turn; what is wanted of it is to be looked up inside."""
        async with self._changed:
            while self._whole or self._waiting or object_id in self._busy:
                await self._changed.wait()
            self._busy.add(object_id)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._busy.discard(object_id)
                    self._changed.notify_all()

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[None]:
        """Wait until no step is being done."""
        async with self._changed:
            self._waiting += 1
            try:
                while self._whole or self._busy:
                    await self._changed.wait()
                self._whole = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._whole = False
                    self._changed.notify_all()
