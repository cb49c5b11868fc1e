"""Volumes: objects of their own, whose bytes a driver keeps."""

import logging
from collections.abc import Awaitable, Callable

import msgspec
import trio

from nodeagent.control.creation import check_name, matches_labels
from nodeagent.control.parts import Parts
from nodeagent.control.times import build_time
from nodeagent.control.volumeuse import UNDO_S, VolumeUse, spec
from nodeagent.control.volumeviews import (
    FILTERS,
    KINDS,
    build_row,
    build_view,
    is_unused,
    parse_truth,
)
from nodeagent.errors import Busy, Conflict, Invalid, Unavailable, kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.volume import (
    Pruned,
    VolumeCreate,
    VolumeRecord,
    VolumeRow,
    VolumeUpdate,
    VolumeView,
)
from voldrivers.contract import Ability, GuardedDriver, VolumeHealth, VolumeUsage

log = logging.getLogger(__name__)

DEFAULT_DRIVER = "local"


class Volumes:
    """Use cases of volumes."""

    def __init__(self, parts: Parts, use: VolumeUse) -> None:
        self._parts = parts
        self.use = use
        self._leaving: set[str] = set()  # whose bytes are being deleted just now

    def driver(self, record: VolumeRecord) -> GuardedDriver:
        """The driver that keeps the record's bytes."""
        return self._parts.volume_drivers.of(record.driver)

    def abilities(self, record: VolumeRecord) -> frozenset[Ability]:
        """What its driver can do with the volume."""
        return self.driver(record).abilities(spec(record))

    def driver_name(self, volume: str) -> str:
        """The driver of a volume, or that of a new one."""
        known = self._parts.inventory.volumes.get(volume)
        return known.driver if known else DEFAULT_DRIVER

    def record(self, request: VolumeCreate, *, anonymous: bool = False) -> VolumeRecord:
        """The record a request stands for; the one that exists if it agrees.

        Raises:
            Invalid: name, driver or options. Conflict: the name is taken by another driver, or
            the one that is there has other options.
        """
        name = request.name or self._parts.new_id()
        check_name(name)
        known = self._parts.inventory.volumes.get(name)
        if known:
            self._check_same(known, request)
            return known
        record = VolumeRecord(
            name=name,
            driver=request.driver,
            options=request.options,
            labels=request.labels,
            created=build_time(self._parts.now()),
            phase="creating",
            anonymous=anonymous or not request.name,
            sharing=request.sharing,
            shared=request.shared,
            on_lease_loss=request.on_lease_loss,
        )
        self._find_driver(request.driver).check(spec(record))
        return record

    def _find_driver(self, name: str) -> GuardedDriver:
        drivers = self._parts.volume_drivers
        found = drivers.find(name)
        if found is None:
            have = sorted(each.name for each in drivers.all())
            raise Invalid(
                "no such volume driver, and no plugin of this name",
                field="driver", value=name, have=have,
            )  # fmt: skip
        return found

    def _check_same(self, known: VolumeRecord, request: VolumeCreate) -> None:
        if self._parts.inventory.is_leaving(known):
            raise Conflict("the volume is being removed; try again", field="name", name=known.name)
        if known.driver != request.driver:
            raise Conflict(
                "a volume of this name exists with another driver",
                field="driver",
                name=known.name,
                driver=known.driver,
            )
        if request.options and request.options != known.options:
            raise Conflict(
                "a volume of this name exists with other options; remove it first, or name none",
                field="options",
                name=known.name,
                has=known.options,
            )

    async def create(self, request: VolumeCreate) -> VolumeView:
        """Make a volume; asking again for one that is there is no error."""
        record = self.record(request)
        if record.name in self._parts.inventory.volumes:
            await self.create_bytes(record)  # who keeps it may have lost it
        else:
            await self._parts.inventory.put(record)
            try:
                await self.make([record])
            except BaseException:
                with trio.move_on_after(UNDO_S, shield=True):
                    await self.forget_unused(record)
                raise
        return await self._view(self._parts.inventory.volume(record.name))

    async def forget_unused(self, record: VolumeRecord) -> None:
        """Take back a volume that could not be made, unless somebody counts on it by now."""
        if not self._parts.inventory.volume_users(record.name):
            await self.finish_rm(record)

    async def make(self, records: list[VolumeRecord]) -> None:
        """Have the drivers make what recorded volumes want; also used at start, to finish."""
        for record in records:
            await self.create_bytes(record)
        made = [msgspec.structs.replace(record, phase="ready") for record in records]
        if made:
            await self._parts.inventory.put(*made)
        for record in made:
            self._tell(record, "create", driver=record.driver)

    async def create_bytes(self, record: VolumeRecord) -> None:
        """Have the driver make the volume, if it is not there."""
        async with self.use.turn(record.name):
            await self.driver(record).create(spec(record))

    def _tell(self, record: VolumeRecord, action: str, **attributes: str) -> None:
        self._parts.events.publish("volume", action, record.name, record.name, **attributes)

    def own_anonymous(self, container: ContainerRecord) -> list[VolumeRecord]:
        """Anonymous volumes that nobody but the container uses."""
        inventory = self._parts.inventory
        names = [mount.name for mount in container.mounts if mount.anonymous]
        return [
            inventory.volumes[name]
            for name in names
            if name in inventory.volumes and inventory.volume_users(name) == [container.name]
        ]

    # --- change -------------------------------------------------------------------------------

    async def update(self, change: VolumeUpdate) -> VolumeView:
        """Change what can be changed of a volume that is there; what is not given stays.

        Raises:
            Invalid: the driver cannot resize, or not to that size.
            Refused: it is in use and cannot grow just now; it grows at its next mount.
        """
        before = self._parts.inventory.volume(change.name)
        if before.phase != "ready" or before.kind != "volume":
            raise Conflict("only a volume that is ready is changed", field="name", name=change.name)
        labels = {**before.labels, **change.labels}
        record = msgspec.structs.replace(
            before,
            labels={key: labels[key] for key in labels if key not in change.labels_gone},
            sharing=change.sharing or before.sharing,
            options={**before.options, "size": change.size} if change.size else before.options,
            schedule=None if change.no_schedule else change.schedule or before.schedule,
        )
        driver = self.driver(record)
        if change.size and "resize" not in driver.abilities(spec(record)):
            raise Invalid(
                f"volumes of the driver {record.driver!r} have no size to change",
                field="size",
                value=change.size,
            )
        if record.schedule and "clone" not in driver.abilities(spec(record)):
            raise Invalid(
                "of this volume no snapshots can be made", field="schedule", name=record.name,
                driver=record.driver,
            )  # fmt: skip
        if change.size:
            driver.check(spec(record))
        await self._parts.inventory.put(record)
        if change.size:
            await self._resize(before, record)
        self._tell(record, "update")
        return await self._view(record)

    async def _resize(self, before: VolumeRecord, record: VolumeRecord) -> None:
        try:
            async with self.use.turn(record.name):
                await self.driver(record).resize(spec(record))
        except Exception as exc:
            if kind_of(exc) == Invalid.kind:  # it stays what it was
                await self._parts.inventory.put(before)
            raise

    # --- remove ---------------------------------------------------------------------------------

    async def rm(self, name: str, *, force: bool) -> None:
        """Remove a volume nobody uses; with ``force`` an unknown one is no error."""
        if force and name not in self._parts.inventory.volumes:
            return
        record = self._parts.inventory.volume(name)
        await self.check_free(record)
        await self.finish_rm(record)

    async def check_free(self, record: VolumeRecord) -> None:
        """Refuse while a container refers to it, or a mount is still to be given back (Busy)."""
        users = self._parts.inventory.volume_users(record.name)
        if users:
            raise Busy(
                f"volume is in use by {', '.join(users)}; remove them first",
                field="name",
                name=record.name,
                by=users,
            )
        if self.use.fence is not None:
            await self.use.fence.check_elsewhere(record)
        await self.use.pay(record.name)
        if self._parts.leases.book(record.name).leases:
            raise Busy(
                "the volume is still to be unmounted; try again", field="name", name=record.name
            )

    async def settle(self, record: VolumeRecord) -> None:
        """At start: finish what was begun."""
        if record.phase == "removing":
            await self.finish_rm(record)
        elif record.phase == "creating":
            await self.make([record])

    async def finish_rm(self, record: VolumeRecord) -> None:
        """Remove, from the intent on; also used at start.

        One at a time: a second one that came late would remove a new volume of this name.
        Cancel: it stays "removing"; the next removal or start goes on.
        """
        if record.name in self._leaving:
            return
        self._leaving.add(record.name)
        try:
            # a copy that was cut off goes at the next start anyway, and on a full disk its bytes
            # must go before anything can be written
            if record.phase not in {"removing", "copying"}:
                record = msgspec.structs.replace(record, phase="removing")
                await self._parts.inventory.put(record)
            async with self.use.turn(record.name):
                await self.driver(record).remove(spec(record))
            with trio.CancelScope(shield=True):  # the bytes are gone: so is the record
                await self._parts.leases.forget(record.name)
                await self._parts.inventory.delete(record)
        finally:
            self._leaving.discard(record.name)
        self._tell(record, "destroy", driver=record.driver)

    async def prune(
        self, *, everything: bool, remove: Callable[[VolumeRecord], Awaitable[str]]
    ) -> Pruned:
        """Remove volumes without users: anonymous ones, or all.

        Args:
            remove: says under which name the volume is kept, "" = it is gone.
        """
        deleted, freed = [], 0
        for record in list(self._parts.inventory.volumes.values()):
            if not (record.anonymous or everything) or not is_unused(self._parts, record):
                continue
            used_bytes = await self.used_bytes(record)
            if is_unused(self._parts, record):  # still: a container may have come meanwhile
                try:
                    kept = await remove(record)
                except (Busy, Unavailable) as exc:  # another host has it, or may have
                    log.info("not pruned", extra={"volume": record.name, "why": str(exc)})
                    continue
                freed += 0 if kept else used_bytes
                deleted.append(record.name)
        return Pruned(deleted=deleted, space_reclaimed=freed)

    # --- look -----------------------------------------------------------------------------------

    async def used_bytes(self, record: VolumeRecord) -> int:
        """Its size; 0 if that is not known."""
        usage, _ = await self.look(record)
        return max(0, usage.used_bytes)

    async def look(self, record: VolumeRecord) -> tuple[VolumeUsage, VolumeHealth]:
        """How full and how well it is. Never an error: what cannot be asked says why."""
        driver = self.driver(record)
        return await driver.usage(spec(record)), await driver.health(spec(record))

    def ls(self, filters: dict[str, list[str]], *, everything: bool = False) -> list[VolumeRow]:
        """Volumes by name; with ``everything`` snapshots and removed ones too.

        Nobody is asked: one that hangs is in it, with the reason.
        """
        for value in filters.get("kind", []):
            if value not in KINDS:
                raise Invalid("no such kind", field="filters.kind", value=value, have=KINDS)
        if not everything:
            filters = {"kind": ["volume"], **filters}
        for key in filters:
            if key not in FILTERS:
                raise Invalid("no such filter", field="filters", value=key, have=FILTERS)
        rows = sorted(self._parts.inventory.volumes.values(), key=lambda each: each.name)
        return [build_row(self._parts, record) for record in rows if self._passes(record, filters)]

    def _passes(self, record: VolumeRecord, filters: dict[str, list[str]]) -> bool:
        users = bool(self._parts.inventory.volume_users(record.name))
        dangling = [parse_truth(value) for value in filters.get("dangling", [])]
        return (
            all(users != value for value in dangling)
            and matches_labels(record.labels, filters.get("label", []))
            and all(word in record.name for word in filters.get("name", []))
            and (record.driver in filters.get("driver", [record.driver]))
            and record.kind in filters.get("kind", [record.kind])
        )

    async def inspect(self, names: list[str]) -> list[VolumeView]:
        """All about volumes, in the order asked for."""
        return [await self._view(self._parts.inventory.volume(name)) for name in names]

    async def _view(self, record: VolumeRecord) -> VolumeView:
        usage, health = await self.look(record)
        return build_view(self._parts, record, usage, health, self.use.fence)
