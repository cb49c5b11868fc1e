"""Events that outlive the agent: read at start, written behind its back, whole at a stop."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from nodeagent.control.events import Events
from nodeagent.state.eventlog import EventLog

RETRY_S: Final = 5.0  # a full disk is tried again; a guess
CLOSE_S: Final = 2.0  # for the last ones at a stop; a guess
log = logging.getLogger(__name__)


@asynccontextmanager
async def open_events(folder: Path, now: Callable[[], float]) -> AsyncIterator[Events]:
    """Events with the history of the agents before; new ones are written while this is open."""
    events_log = EventLog(folder)
    events = Events(now, await trio.to_thread.run_sync(events_log.load))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, events, events_log)
        try:
            yield events
        finally:
            nursery.cancel_scope.cancel()
    with trio.move_on_after(CLOSE_S, shield=True):
        await _write(events, events_log)


async def keep(events: Events, events_log: EventLog, *, retry_s: float = RETRY_S) -> None:
    """Write events as they come; whoever publishes never waits for a disk."""
    is_failing = False
    while True:
        await events.wait_unwritten()
        error = await _write(events, events_log)
        if error and not is_failing:
            log.warning("events are not kept for later", extra={"error": str(error)})
        is_failing = error is not None
        if error:
            await trio.sleep(retry_s)


async def _write(events: Events, events_log: EventLog) -> OSError | None:
    """Write what waits; if that fails it goes on waiting."""
    batch = list(events.unwritten)
    if not batch:
        return None
    try:
        with trio.CancelScope(shield=True):  # else a batch could be written and yet wait
            await trio.to_thread.run_sync(events_log.append, batch)
    except OSError as exc:
        return exc
    events.drop_written(batch)
    return None
