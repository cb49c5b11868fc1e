"""The loop that keeps the kernel in agreement with what is wanted."""

import logging
from collections.abc import Callable
from typing import NoReturn

import trio

from nodeagent.control.conflicts import Conflicts
from nodeagent.control.parts import Parts
from nodeagent.control.repair import Repairer
from nodeagent.control.wakes import Wakes
from nodeagent.errors import kind_of

log = logging.getLogger(__name__)

PERIOD_S = 30.0  # a look at everything even if nobody told of a change
FULL_S = 300.0  # a look that believes nothing it remembers; 0.6 s for 1,000 containers (2026-11)
GAP_S = 0.5  # between two looks: our own steps are heard, too


class Reconciler:
    """Looks again when woken, and at least every 30 s. Wake-ups carry no data."""

    def __init__(
        self,
        parts: Parts,
        repairer: Repairer,
        conflicts: Conflicts,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._parts = parts
        self._repairer = repairer
        self._conflicts = conflicts
        self._on_change = on_change  # others who want to know that something changed
        self._full_at = 0.0
        self._told: tuple[str, ...] = ()
        self._wakes = Wakes()

    def wake(self) -> None:
        """Look again soon; any number of calls before that are one."""
        self._wakes.wake()

    async def run(self) -> NoReturn:
        """Repair for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            while True:
                await self._wakes.wait(min(PERIOD_S, self._repairer.wait_s))
                await self._try()
                await trio.sleep(GAP_S)

    async def _listen(self) -> NoReturn:
        while True:
            await self._parts.engine.wait_change()
            self.wake()
            self._on_change()
            await trio.sleep(GAP_S)  # what is said meanwhile is heard after it, as one change

    async def _try(self) -> None:
        """One pass; a failed one is logged, and tried again at the next."""
        try:
            await self._pass()
        except Exception as exc:
            if not kind_of(exc):
                raise
            log.warning("reconcile failed, trying again", extra={"error": str(exc)})

    async def _pass(self) -> None:
        now = trio.current_time()
        fresh = now >= self._full_at
        drift = await self._repairer.look(fresh=fresh)
        if fresh:
            self._full_at = now + FULL_S
        conflicts = tuple(drift.conflicts)
        for conflict in conflicts:
            if conflict not in self._told:  # once: it is there at every look
                log.warning("conflict", extra={"what": conflict})
        self._told = conflicts
        await self._conflicts.look()
