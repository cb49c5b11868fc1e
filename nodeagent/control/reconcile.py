"""The loop that keeps the kernel in agreement with what is wanted."""

import logging
from typing import NoReturn

import trio

from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.errors import kind_of

log = logging.getLogger(__name__)

PERIOD_S = 30.0  # a look at everything; between them each step applies its own objects


class Reconciler:
    """Looks again when woken, and at least every 30 s. Wake-ups carry no data."""

    def __init__(self, parts: Parts, sandboxes: Sandboxes) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._sender, self._wakes = trio.open_memory_channel[None](1)

    def wake(self) -> None:
        """Look again soon; any number of calls before that are one."""
        try:
            self._sender.send_nowait(None)
        except trio.WouldBlock:
            return

    async def run(self) -> NoReturn:
        """Repair for ever; a failed pass is logged and tried again."""
        while True:
            with trio.move_on_after(PERIOD_S):
                await self._wakes.receive()
            try:
                await self._pass()
            except Exception as exc:
                if not kind_of(exc):
                    raise
                log.warning("reconcile failed, trying again", extra={"error": str(exc)})

    async def _pass(self) -> None:
        ops, conflicts = await self._sandboxes.repair_all()
        for conflict in conflicts:
            log.warning("conflict", extra={"what": conflict})
        if ops:
            log.warning("drift repaired", extra={"ops": ops})
            self._parts.events.publish("agent", "repair", "", "", ops=str(len(ops)))
