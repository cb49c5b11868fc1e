"""Who changed what, kept for later: written behind the caller's back, never at its cost.

An entry is on the disk within moments of the answer; a kill in between loses it from the file (it
is in the agent's log, too). If it cannot be written, as on a full disk, it waits; so many may wait,
then further ones are lost and counted.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Final, NoReturn

import trio

from nodeagent.control.times import parse_since, parse_time
from nodeagent.model.audit import AuditEntry, AuditQuery
from nodeagent.state.auditfile import AuditFile, read_entries

log = logging.getLogger(__name__)

MAX_WAITING: Final = 4096
BATCH: Final = 256
RETRY_S: Final = 5.0  # a full disk is tried again; a guess
CLOSE_S: Final = 2.0  # for the last ones at a stop; a guess


class AuditLog:
    """Takes entries at once, writes them later, and finds them again."""

    def __init__(self, file: AuditFile, now: Callable[[], float]) -> None:
        self._file = file
        self.now = now
        self._waiting: deque[AuditEntry] = deque()
        self._changed = trio.Event()
        self._writing = trio.Lock()
        self._is_failing = False
        self.on_lost: Callable[[], None] = lambda: None

    def note(self, entry: AuditEntry) -> None:
        """Take an entry; never waits."""
        if len(self._waiting) >= MAX_WAITING:
            self.on_lost()
            return
        self._waiting.append(entry)
        self._changed.set()

    async def run(self, *, retry_s: float = RETRY_S) -> NoReturn:
        """Write entries as they come."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while self._waiting:
                if not await self.flush():
                    await trio.sleep(retry_s)

    async def flush(self) -> bool:
        """Write what waits; False if that fails, and it goes on waiting."""
        async with self._writing:
            while batch := list(islice(self._waiting, BATCH)):
                try:
                    with trio.CancelScope(shield=True):  # else a batch could be written twice
                        await trio.to_thread.run_sync(self._file.append, batch)
                except OSError as exc:
                    self._fail(exc)
                    return False
                self._is_failing = False
                for _ in batch:
                    self._waiting.popleft()
        return True

    def _fail(self, exc: OSError) -> None:
        if not self._is_failing:
            log.warning("the audit log cannot be written", extra={"error": str(exc)})
        self._is_failing = True

    async def find(self, query: AuditQuery, send: Callable[[AuditEntry], Awaitable[None]]) -> None:
        """Send the entries that fit, the oldest first (Invalid: ``since`` is no time)."""
        start = parse_since(query.since, now=self.now(), field="since")
        fits = partial(_fits, query, start)
        await self.flush()
        waiting = [each for each in self._waiting if fits(each)]
        for path in await trio.to_thread.run_sync(self._file.files):
            for entry in await trio.to_thread.run_sync(read_entries, path, fits):
                await send(entry)
        for entry in waiting:
            await send(entry)


def _fits(query: AuditQuery, start: float, entry: AuditEntry) -> bool:
    return (
        (not query.who or query.who in {entry.who, entry.who.removeprefix("client-")})
        and (not query.method or f"{entry.method}.".startswith(f"{query.method}."))
        and parse_time(entry.time) >= start
    )


@asynccontextmanager
async def open_audit(file: AuditFile, now: Callable[[], float]) -> AsyncIterator[AuditLog]:
    """Entries are written while this is open, the last ones at its end."""
    audit = AuditLog(file, now)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.run)
        try:
            yield audit
        finally:
            nursery.cancel_scope.cancel()
    with trio.move_on_after(CLOSE_S, shield=True):
        await audit.flush()
