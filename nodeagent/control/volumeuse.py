"""Who has which volume mounted: leases before mounts, and mounts given back whatever happens.

A lease is durable before the driver mounts and until it has unmounted. So after a kill, or with a
driver that hangs, what is owed is known, and ``run`` pays it when that is possible; nobody waits.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from nodeagent.control.parts import Parts
from nodeagent.control.times import build_time
from nodeagent.errors import Busy, kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.lease import Claim, Holder, Lease
from nodeagent.model.volume import VolumeRecord
from voldrivers.contract import VolumeSpec
from voldrivers.errors import NotAsked

if TYPE_CHECKING:
    from nodeagent.control.volumefence import VolumeFence

log = logging.getLogger(__name__)

UNMOUNT_S = 15.0  # who stops a container waits that long; a driver has 10 of them
UNDO_S = 10.0  # to take back what could not be done; a guess
PERIOD_S = 5.0  # between two looks for mounts that are owed; a guess


class VolumeUse:
    """Mounts volumes for containers, and gives them back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turns: dict[str, trio.Lock] = {}  # by volume: its driver does one thing at a time
        self.pid_of: Callable[[str], int] = lambda _id: 0  # lifecycle's
        self.fence: VolumeFence | None = None  # of volumes that several hosts mount
        self._coming: set[str] = set()  # holders that are getting or giving back just now

    def turn(self, volume: str) -> trio.Lock:
        """What to hold while a volume's bytes are mounted, unmounted, moved or deleted."""
        return self._turns.setdefault(volume, trio.Lock())

    async def attach(self, container: ContainerRecord) -> dict[str, str]:
        """Mount all volumes of a container, or none; the host path of each, by name.

        Raises:
            Busy: a volume's sharing mode does not allow it. Whatever a driver says.
        """
        claims = build_claims(container, self._parts.inventory.volumes)
        if not claims:
            return {}
        holder = Holder(id=container.id, name=container.name, node=self._parts.settings.agent_id)
        self._coming.add(holder.id)
        try:
            await self._parts.leases.take(claims, holder, now=self._now())
            await self._take_shared(container, claims)
            return {each.volume: await self._mount(each.volume, holder.id) for each in claims}
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._give_back(holder.id)
            raise
        finally:
            self._coming.discard(holder.id)

    async def _take_shared(self, container: ContainerRecord, claims: list[Claim]) -> None:
        if self.fence is None:
            return
        try:
            await self.fence.take(container, claims)
        except BaseException:  # then nothing is mounted, and nothing is to be given back
            with trio.move_on_after(UNDO_S, shield=True):
                names = [each.volume for each in claims]
                await self._parts.leases.drop(names, container.id, now=self._now())
            raise

    async def _mount(self, volume: str, holder: str) -> str:
        record = self._parts.inventory.volume(volume)
        driver = self._parts.volume_drivers.of(record.driver)
        async with self.turn(volume):
            try:
                place = await driver.mount(spec(record), holder)
            except NotAsked:  # then there is nothing to give back
                await self._parts.leases.drop([volume], holder, now=self._now())
                raise
        self._tell("mount", volume, holder)
        return str(place)

    def _tell(self, action: str, volume: str, holder: str, **attributes: str) -> None:
        self._parts.events.publish("volume", action, volume, volume, container=holder, **attributes)

    @asynccontextmanager
    async def held(self, record: VolumeRecord, holder: str) -> AsyncIterator[str]:
        """The host path of a volume that is mounted for somebody who is no container."""
        claim = Claim(volume=record.name, access="rw", sharing="all")
        who = Holder(id=holder, name=holder, node=self._parts.settings.agent_id)
        self._coming.add(holder)
        try:
            await self._parts.leases.take([claim], who, now=self._now())
            yield await self._mount(record.name, holder)
        finally:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._give_back(holder)
            self._coming.discard(holder)

    async def detach(self, holder: str) -> None:
        """Give back all that a holder has. What does not go now is owed: nobody waits for it."""
        self._coming.add(holder)
        try:
            await self._give_back(holder)
        finally:
            self._coming.discard(holder)

    async def _give_back(self, holder: str) -> None:
        async with trio.open_nursery() as nursery:  # their commits become one
            for lease in self._parts.leases.held(holder):
                nursery.start_soon(self._end, lease)

    async def _end(self, lease: Lease) -> None:
        """Unmount and drop the lease, or note that this is owed."""
        why = f"no answer within {UNMOUNT_S:.0f} s"
        with trio.move_on_after(UNMOUNT_S):
            async with self.turn(lease.volume):
                try:
                    await self._unmount(lease)
                except Exception as exc:
                    if not kind_of(exc):
                        raise
                    why = str(exc)
                    # it was asked before, so this answer means that it has done it
                    is_done = lease.leaving and kind_of(exc) == "refused"
                else:
                    is_done = True
                if is_done:  # in the same turn: of two that leave, one must be the last
                    now = self._now()
                    await self._parts.leases.drop([lease.volume], lease.holder, now=now)
                    self._tell("unmount", lease.volume, lease.holder)
                    if self.fence is not None:
                        await self.fence.leave(lease.volume, lease.holder)
                    return
        await self._parts.leases.leave([lease.volume], lease.holder)
        if not lease.leaving:  # the first time only
            log.warning("unmount owed", extra={"volume": lease.volume, "why": why})
            self._tell("unmount-owed", lease.volume, lease.holder, error=why)

    async def _unmount(self, lease: Lease) -> None:
        record = self._parts.inventory.volumes.get(lease.volume)
        if record is None:
            return
        leases = self._parts.leases.book(lease.volume).leases
        last = all(each.holder == lease.holder for each in leases)
        await self._parts.volume_drivers.of(record.driver).unmount(
            spec(record), lease.holder, last=last
        )

    async def adopt(self) -> None:
        """At start: see that what runs has its leases; who lost one is told about."""
        for container in self._parts.inventory.containers.values():
            claims = build_claims(container, self._parts.inventory.volumes)
            if container.phase != "running" or not claims:
                continue
            holder = Holder(
                id=container.id, name=container.name, node=self._parts.settings.agent_id
            )
            try:
                await self._parts.leases.take(claims, holder, now=self._now())
            except Busy as exc:
                log.error(
                    "a running container lost its volume",
                    extra={"id": container.id[:12], "error": str(exc)},
                )
                self._parts.events.publish(
                    "container", "lease-lost", container.id, container.name, error=str(exc)
                )

    async def run(self) -> None:
        """For ever: give back what is held by nobody who runs, and heal what is held."""
        while True:
            async with trio.open_nursery() as nursery:  # one that hangs keeps no other
                for volume in {each.volume for each in self._parts.leases.all()}:
                    nursery.start_soon(self._heal, volume)
                for holder in {each.holder for each in self._parts.leases.all()}:
                    if self.is_idle(holder):
                        nursery.start_soon(self._pay, holder)
            await trio.sleep(PERIOD_S)

    async def _heal(self, volume: str) -> None:
        record = self._parts.inventory.volumes.get(volume)
        if record is None:
            return
        driver = self._parts.volume_drivers.of(record.driver)
        can_heal = "heal" in driver.abilities(spec(record))
        if not can_heal or driver.state(spec(record)).breaker == "open":
            return
        try:
            async with self.turn(volume):
                if await driver.heal(spec(record)):
                    await self._renew(record)
        except Exception as exc:
            if not kind_of(exc):
                raise
            log.warning("volume not healed", extra={"volume": volume, "error": str(exc)})

    async def _renew(self, record: VolumeRecord) -> None:
        """Give the containers that run the new mount in the place of the dead one."""
        place = self._parts.volume_drivers.of(record.driver).mountpoint(spec(record))
        holders = [each.holder for each in self._parts.leases.book(record.name).leases]
        for container in filter(None, map(self._parts.inventory.containers.get, holders)):
            for n, mount in enumerate(container.mounts):
                if mount.name == record.name and place and container.phase == "running":
                    await self._renew_one(container, n, place)
        self._parts.events.publish("volume", "healed", record.name, record.name)
        log.warning("volume mounted again", extra={"volume": record.name})

    async def _renew_one(self, container: ContainerRecord, n: int, place: Path) -> None:
        mount, parts = container.mounts[n], self._parts.part_mounts
        if container.ids is not None:  # a graft would show it files that are nobody's
            self._parts.events.publish(
                "container", "volume-stale", container.id, container.name, volume=mount.name
            )
            log.warning(
                "a container with user ids of its own has a dead mount: restart it",
                extra={"id": container.id[:12], "volume": mount.name},
            )
            return
        if mount.subpath:
            await parts.close(container.id)
            place = await parts.open(container.id, n, place, mount.subpath)
        await parts.graft(self.pid_of(container.id), place, mount.target, read_only=mount.read_only)

    async def pay(self, volume: str) -> None:
        """Give back now what is owed of one volume, as far as its driver can."""
        for lease in self._parts.leases.book(volume).leases:
            await self._pay(lease.holder)

    def is_idle(self, holder: str) -> bool:
        """Whether a holder of leases needs none."""
        record = self._parts.inventory.containers.get(holder)
        is_up = record is not None and record.phase in {"starting", "running"}
        return not is_up and holder not in self._coming

    async def _pay(self, holder: str) -> None:
        if self.is_idle(holder):
            await self.detach(holder)

    def _now(self) -> str:
        return build_time(self._parts.now())


def build_claims(container: ContainerRecord, volumes: dict[str, VolumeRecord]) -> list[Claim]:
    """One claim for each volume of a container: to write if one of its mounts may. Pure."""
    writable: dict[str, bool] = {}
    for mount in container.mounts:
        if mount.type == "volume":
            writable[mount.name] = writable.get(mount.name, False) or not mount.read_only
    return [
        Claim(
            volume=name,
            access="rw" if writes else "ro",
            sharing=volumes[name].sharing if name in volumes else "all",
        )
        for name, writes in writable.items()
    ]


def spec(record: VolumeRecord) -> VolumeSpec:
    """The driver's half of a record."""
    return VolumeSpec(name=record.name, driver=record.driver, options=record.options)
