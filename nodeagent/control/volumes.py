"""Volumes: objects of their own, whose bytes a driver keeps."""

import msgspec
import trio

from nodeagent.control.creation import check_name, matches_labels
from nodeagent.control.parts import Parts
from nodeagent.control.times import build_time
from nodeagent.errors import Busy, Conflict, Invalid, kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.volume import (
    Pruned,
    VolumeCreate,
    VolumeRecord,
    VolumeRow,
    VolumeUsageView,
    VolumeView,
)
from voldrivers.contract import VolumeDriver, VolumeSpec

UNDO_S = 10.0  # to take back what could not be made; a guess
FILTERS = ("dangling", "driver", "label", "name")


class Volumes:
    """Use cases of volumes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._leaving: set[str] = set()  # whose bytes are being deleted just now

    def driver(self, record: VolumeRecord) -> VolumeDriver:
        """The driver that keeps the record's bytes."""
        return self._driver(record.driver)

    def _driver(self, name: str) -> VolumeDriver:
        drivers = self._parts.volume_drivers
        if name not in drivers:
            raise Invalid("no such volume driver", field="driver", value=name, have=sorted(drivers))
        return drivers[name]

    def record(self, request: VolumeCreate, *, anonymous: bool = False) -> VolumeRecord:
        """The record a request stands for; the one that exists if it agrees.

        Raises:
            Invalid: name, driver or options. Conflict: the name is taken by another driver.
        """
        name = request.name or self._parts.new_id()
        check_name(name)
        known = self._parts.inventory.volumes.get(name)
        if known and self._parts.inventory.is_leaving(known):
            raise Conflict("the volume is being removed; try again", field="name", name=name)
        if known:
            if known.driver != request.driver:
                raise Conflict(
                    "a volume of this name exists with another driver",
                    field="driver",
                    name=name,
                    driver=known.driver,
                )
            return known
        record = VolumeRecord(
            name=name,
            driver=request.driver,
            options=request.options,
            labels=request.labels,
            created=build_time(self._parts.now()),
            phase="ready",
            anonymous=anonymous or not request.name,
        )
        self._driver(record.driver).check(spec(record))
        return record

    async def create(self, request: VolumeCreate) -> VolumeView:
        """Make a volume; asking again for one that is there is no error."""
        record = self.record(request)
        if record.name not in self._parts.inventory.volumes:
            await self._parts.inventory.put(record)
            try:
                await self.make(record)
            except BaseException:
                with trio.move_on_after(UNDO_S, shield=True):
                    await self.forget_unused(record)
                raise
            self._parts.events.publish("volume", "create", record.name, record.name)
        return await self._view(record)

    async def forget_unused(self, record: VolumeRecord) -> None:
        """Take back a volume that could not be made, unless somebody counts on it by now."""
        if not self._parts.inventory.volume_users(record.name):
            await self.finish_rm(record)

    async def make(self, record: VolumeRecord) -> None:
        """Have the driver make what the record wants; also used at start, to finish."""
        await self.driver(record).create(spec(record))

    async def mount(self, record: VolumeRecord, container: ContainerRecord) -> str:
        """Make the bytes visible for a container; the host path."""
        driver = self.driver(record)
        await driver.create(spec(record))
        return str(await driver.mount(spec(record), container.id))

    async def unmount_all(self, container: ContainerRecord) -> None:
        """Give back every volume mount of a container."""
        for mount in container.mounts:
            record = self._parts.inventory.volumes.get(mount.name)
            if record:
                await self.driver(record).unmount(spec(record), container.id)

    def own_anonymous(self, container: ContainerRecord) -> list[VolumeRecord]:
        """Anonymous volumes that nobody but the container uses."""
        inventory = self._parts.inventory
        names = [mount.name for mount in container.mounts if mount.anonymous]
        return [
            inventory.volumes[name]
            for name in names
            if name in inventory.volumes and inventory.volume_users(name) == [container.name]
        ]

    async def rm(self, name: str, *, force: bool) -> None:
        """Remove a volume nobody uses; with ``force`` an unknown one is no error."""
        if force and name not in self._parts.inventory.volumes:
            return
        record = self._parts.inventory.volume(name)
        users = self._parts.inventory.volume_users(name)
        if users:
            raise Busy(
                f"volume is in use by {', '.join(users)}; remove them first",
                field="name",
                name=name,
                by=users,
            )
        await self.finish_rm(record)

    async def finish_rm(self, record: VolumeRecord) -> None:
        """Remove, from the intent on; also used at start.

        One at a time: a second one that came late would remove a new volume of this name.
        Cancel: it stays "removing"; the next removal or start goes on.
        """
        if record.name in self._leaving:
            return
        self._leaving.add(record.name)
        try:
            if record.phase != "removing":
                record = msgspec.structs.replace(record, phase="removing")
                await self._parts.inventory.put(record)
            await self.driver(record).remove(spec(record))
            with trio.CancelScope(shield=True):  # the bytes are gone: so is the record
                await self._parts.inventory.delete(record)
        finally:
            self._leaving.discard(record.name)
        self._parts.events.publish("volume", "destroy", record.name, record.name)

    async def prune(self, *, everything: bool) -> Pruned:
        """Remove volumes without users: anonymous ones, or all."""
        deleted, freed = [], 0
        for record in list(self._parts.inventory.volumes.values()):
            if not (record.anonymous or everything) or not self._is_unused(record):
                continue
            used_bytes = await self.used_bytes(record)
            if self._is_unused(record):  # still: a container may have come meanwhile
                await self.finish_rm(record)
                freed += used_bytes
                deleted.append(record.name)
        return Pruned(deleted=deleted, space_reclaimed=freed)

    def _is_unused(self, record: VolumeRecord) -> bool:
        is_there = self._parts.inventory.volumes.get(record.name) is record
        return is_there and not self._parts.inventory.volume_users(record.name)

    async def used_bytes(self, record: VolumeRecord) -> int:
        """Its size; 0 if that is not known."""
        try:
            return max(0, (await self.driver(record).usage(spec(record))).used_bytes)
        except Exception as exc:
            if not kind_of(exc):
                raise
            return 0

    def ls(self, filters: dict[str, list[str]]) -> list[VolumeRow]:
        """Volumes by name."""
        for key in filters:
            if key not in FILTERS:
                raise Invalid("no such filter", field="filters", value=key, have=FILTERS)
        rows = sorted(self._parts.inventory.volumes.values(), key=lambda each: each.name)
        return [self._row(record) for record in rows if self._passes(record, filters)]

    def _passes(self, record: VolumeRecord, filters: dict[str, list[str]]) -> bool:
        users = bool(self._parts.inventory.volume_users(record.name))
        dangling = filters.get("dangling", [])
        for value in dangling:
            if value.lower() not in {"true", "false", "1", "0"}:
                raise Invalid("true or false", field="filters.dangling", value=value)
        return (
            all(users != (value.lower() in {"true", "1"}) for value in dangling)
            and matches_labels(record.labels, filters.get("label", []))
            and all(word in record.name for word in filters.get("name", []))
            and (record.driver in filters.get("driver", [record.driver]))
        )

    def _row(self, record: VolumeRecord) -> VolumeRow:
        driver = self.driver(record)
        return VolumeRow(
            name=record.name,
            driver=record.driver,
            mountpoint=str(driver.mountpoint(spec(record))),
            scope=driver.scope,
            labels=",".join(f"{key}={value}" for key, value in record.labels.items()),
            links=len(self._parts.inventory.volume_users(record.name)),
        )

    async def inspect(self, names: list[str]) -> list[VolumeView]:
        """All about volumes, in the order asked for."""
        return [await self._view(self._parts.inventory.volume(name)) for name in names]

    async def _view(self, record: VolumeRecord) -> VolumeView:
        driver = self.driver(record)
        usage, health = await driver.usage(spec(record)), await driver.health(spec(record))
        users = self._parts.inventory.volume_users(record.name)
        return VolumeView(
            name=record.name,
            driver=record.driver,
            mountpoint=str(driver.mountpoint(spec(record))),
            created_at=record.created,
            labels=record.labels,
            scope=driver.scope,
            options=record.options,
            used_by=users,
            anonymous=record.anonymous,
            health=health.state,
            health_reason=health.reason,
            usage_data=VolumeUsageView(
                size=usage.used_bytes, inodes=usage.inodes, ref_count=len(users)
            ),
        )


def spec(record: VolumeRecord) -> VolumeSpec:
    """The driver's half of a record."""
    return VolumeSpec(name=record.name, driver=record.driver, options=record.options)
