"""What happens to volumes by the clock: snapshots by schedule, and the end of what was removed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from nodeagent.control.parts import Parts
from nodeagent.control.times import parse_time
from nodeagent.control.volumecopies import AUTO, VolumeCopies
from nodeagent.errors import kind_of
from nodeagent.model.volume import Pruned, VolumeRecord

log = logging.getLogger(__name__)

PERIOD_S = 30.0  # between two looks; a guess
FREE_SHARE = 0.1  # of the disk; with less, what was removed goes before its time


class VolumeKeeper:
    """Deletes what has expired, and keeps schedules."""

    def __init__(self, parts: Parts, copies: VolumeCopies) -> None:
        self._parts = parts
        self._volumes = copies.volumes
        self._copies = copies
        self._health: dict[str, str] = {}  # of volumes in use, as last told

    async def run(self) -> None:
        """For ever."""
        while True:
            await trio.sleep(PERIOD_S)
            await self.look()

    async def look(self) -> None:
        """Do what is due now; what fails keeps nothing else, and is tried at the next look."""
        with _told("delete removed volumes", ""):
            await self.prune_expired()
            await self._make_room()
        async with trio.open_nursery() as nursery:  # one that hangs keeps no other
            for record in self._parts.inventory.volumes.values():
                if self._parts.leases.book(record.name).leases:
                    nursery.start_soon(self._watch, record)
        for record in list(self._parts.inventory.volumes.values()):
            if record.schedule and record.phase == "ready":
                with _told("scheduled snapshot", record.name):
                    await self._keep_schedule(record, record.schedule.every_s, record.schedule.keep)

    async def _watch(self, record: VolumeRecord) -> None:
        """Tell when a volume in use becomes unhealthy, and when it is well again."""
        _, health = await self._volumes.look(record)
        before = self._health.get(record.name, "healthy")
        self._health[record.name] = health.state
        if health.state != before:
            self._parts.events.publish(
                "volume", f"health_status: {health.state}", record.name, record.name,
                reason=health.reason,
            )  # fmt: skip
            log.warning(
                "a volume's health changed",
                extra={"volume": record.name, "health": health.state, "reason": health.reason},
            )

    # --- removed ones ---------------------------------------------------------------------------

    async def prune_expired(self) -> Pruned:
        """Delete the removed volumes whose time has come."""
        deleted, freed = [], 0
        for record in self._removed():
            if parse_time(record.expires) <= self._parts.now():
                freed += await self._volumes.used_bytes(record)
                await self._volumes.rm(record.name, force=True)
                deleted.append(record.name)
        return Pruned(deleted=deleted, space_reclaimed=freed)

    async def _make_room(self) -> None:
        """On a disk that is nearly full: delete removed volumes before their time."""
        for record in self._removed():
            free = await trio.to_thread.run_sync(_free_share, self._parts.settings.root)
            if free >= FREE_SHARE:
                return
            log.warning("disk nearly full: removed volume deleted", extra={"volume": record.name})
            await self._volumes.rm(record.name, force=True)

    def _removed(self) -> list[VolumeRecord]:
        """The first to expire first."""
        found = [
            each
            for each in self._parts.inventory.volumes.values()
            if each.kind == "removed" and each.phase == "ready"
        ]
        return sorted(found, key=lambda each: each.expires)

    # --- schedules ------------------------------------------------------------------------------

    async def _keep_schedule(self, record: VolumeRecord, every_s: float, keep: int) -> None:
        made = self._scheduled(record.name)
        last_s = parse_time(made[-1].created) if made else 0.0
        if self._parts.now() - last_s >= every_s:
            await self._copies.snapshot(record.name, auto=True)
            made = self._scheduled(record.name)
        for old in made[:-keep]:
            await self._volumes.rm(old.name, force=True)

    def _scheduled(self, name: str) -> list[VolumeRecord]:
        """The snapshots a schedule made, the oldest first; others are never deleted by it."""
        found = [
            each
            for each in self._parts.inventory.volumes.values()
            if each.origin == name and each.kind == "snapshot" and f"@{AUTO}" in each.name
        ]
        return sorted(found, key=lambda each: each.created)


def _free_share(root: Path) -> float:
    found = os.statvfs(root)
    return found.f_bavail / max(1, found.f_blocks)


@contextmanager
def _told(what: str, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        if not kind_of(exc):
            raise
        log.warning("not done", extra={"step": what, "volume": name, "error": str(exc)})
