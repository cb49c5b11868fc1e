"""Logs stay bounded: looked at twice a second, rotated where they have grown, one budget."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

import trio

from nodeagent.control.parts import Parts
from nodeagent.errors import kind_of
from nodeagent.model.container import ContainerRecord

log = logging.getLogger(__name__)

PERIOD_S: Final = 0.5  # a flood of 100 MB/s overshoots by 50 MB; a look costs 5 us a container
ROUNDS: Final = 10  # looks between two of the budget
SHARE_MIN_BYTES: Final = 64 << 10  # of a present file, however small the budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A rotated file of a container."""

    container_id: str
    generation: int
    size_bytes: int


def plan_drops(files: Sequence[Aside], budget_bytes: int) -> list[Aside]:
    """Files to delete so that the rest fits: the oldest of whoever has most, one after the other.

    So a container that floods pushes out its own past, not that of the quiet ones.
    """
    left = sum(each.size_bytes for each in files)
    rows: dict[str, list[Aside]] = defaultdict(list)
    for each in sorted(files, key=lambda each: -each.generation):
        rows[each.container_id].append(each)
    sizes = {id_: sum(each.size_bytes for each in row) for id_, row in rows.items()}
    dropped: list[Aside] = []
    while left > budget_bytes and sizes:
        most = max(sizes, key=lambda id_: sizes[id_])
        gone = rows[most].pop()
        dropped.append(gone)
        left -= gone.size_bytes
        sizes[most] -= gone.size_bytes
        if not rows[most]:
            del sizes[most]
    return dropped


class LogKeeper:
    """Rotates, compresses and drops the log files of all containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._untidy = set(parts.inventory.containers)  # the agent before may have been killed
        self.rotations = 0  # for metrics, as the next
        self.dropped = {"age": 0, "budget": 0}
        self.bytes = 0

    async def run(self) -> NoReturn:
        """Look for ever; a log that cannot be rotated is told and tried again."""
        while True:
            for _ in range(ROUNDS):
                await trio.sleep(PERIOD_S)
                await self.look_at_all()
            await self.hold_budget()

    async def look_at_all(self) -> None:
        """Rotate what is too large; compress what was rotated."""
        records = self._records()
        share = self._share_bytes(len(records))
        for record in records:
            await self._guard(record.id, partial(self._look, record, share))

    def _records(self) -> list[ContainerRecord]:
        known = self._parts.inventory.containers.values()
        return [each for each in known if each.log.driver != "none" and each.phase != "removing"]

    def _share_bytes(self, count: int) -> int:
        """What a present file may have of the budget: half of it is theirs; 0 is no limit."""
        budget = self._parts.settings.logs.budget_bytes
        return max(budget // 2 // max(count, 1), SHARE_MIN_BYTES) if budget else 0

    async def _look(self, record: ContainerRecord, share_bytes: int) -> None:
        defaults, asked = self._parts.settings.logs, record.log
        wanted = defaults.max_bytes if asked.max_bytes is None else asked.max_bytes
        limits = [each for each in (wanted, share_bytes) if each]
        logbook = self._parts.runtime.logbook
        if limits and logbook.size(record.id) > min(limits):
            await logbook.rotate(record.id)
            self.rotations += 1
            self._untidy.add(record.id)
        if record.id in self._untidy:
            files = defaults.max_files if asked.max_files is None else asked.max_files
            compress = defaults.compress if asked.compress is None else asked.compress
            ended = record.phase != "running"
            done = await logbook.tidy(record.id, keep=files - 1, compress=compress, ended=ended)
            self.dropped["age"] += done.dropped
            if done.is_complete:
                self._untidy.discard(record.id)

    async def hold_budget(self) -> None:
        """Drop the oldest rotated files while all logs together are above the budget."""
        logbook, asides, present = self._parts.runtime.logbook, list[Aside](), 0
        for record in self._records():
            present += logbook.size(record.id)
            asides += [
                Aside(
                    container_id=record.id, generation=each.generation, size_bytes=each.size_bytes
                )
                for each in await logbook.files(record.id)
            ]
        self.bytes = present + sum(each.size_bytes for each in asides)
        budget = self._parts.settings.logs.budget_bytes
        for each in plan_drops(asides, budget - present) if budget else []:
            drop = partial(logbook.drop, each.container_id, each.generation)
            await self._guard(each.container_id, drop)
            self.dropped["budget"] += 1
            self.bytes -= each.size_bytes

    async def _guard(self, container_id: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as exc:
            if not isinstance(exc, OSError) and not kind_of(exc):
                raise
            log.warning("log not kept", extra={"id": container_id[:12], "error": str(exc)})
