"""Starting a container again by its policy, until it runs or nobody wants it any more."""

import logging
from collections.abc import Awaitable, Callable

import msgspec
import trio

from nodeagent.control.lives import Life
from nodeagent.control.parts import Parts
from nodeagent.control.restart import next_delay_s, wants_restart
from nodeagent.control.times import parse_time
from nodeagent.model.container import ContainerRecord

log = logging.getLogger(__name__)


class Restarter:
    """Waits for the back-off and starts; a start that fails (no network, no port) counts as a run.

    Args:
        start: begins a run of a record whose life is locked; raises if it does not come to be.
    """

    def __init__(
        self, parts: Parts, start: Callable[[ContainerRecord, Life], Awaitable[None]]
    ) -> None:
        self._parts = parts
        self._start = start

    async def run(self, id_: str, life: Life) -> None:
        """Try until it runs, its tries are used up, or it was stopped, started or removed."""
        record = self._wanted(id_)
        ran_s = parse_time(record.finished_at) - parse_time(record.started_at) if record else 0.0
        while record is not None:
            life.delay_s = next_delay_s(life.delay_s, ran_s=ran_s)
            if await self._try(id_, life):
                return
            record, ran_s = self._wanted(id_), 0.0

    def _wanted(self, id_: str) -> ContainerRecord | None:
        """The container, if it is down and its policy wants it up."""
        record = self._parts.inventory.containers.get(id_)
        is_down = record is not None and record.phase == "exited"
        return record if is_down and record and wants_restart(record) else None

    async def _try(self, id_: str, life: Life) -> bool:
        """One wait and one start; True if there is nothing more to do."""
        life.restarting = scope = trio.CancelScope()
        life.try_at = self._parts.now() + life.delay_s
        with scope:
            await trio.sleep(life.delay_s)
        async with life.lock:
            if life.restarting is not scope:  # given up, maybe while we waited for our turn
                return True
            life.restarting = None
            record = self._wanted(id_)
            if record is None:
                return True  # its policy is another one by now
            count = record.restart_count + 1
            try:
                await self._start(msgspec.structs.replace(record, restart_count=count), life)
            except Exception:
                log.exception("restart by policy", extra={"id": id_[:12], "try": count})
                return False
            return True
