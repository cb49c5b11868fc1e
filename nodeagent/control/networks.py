"""Networks: create, list, inspect, remove."""

import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_network
from typing import Protocol

import msgspec
import trio

from netdrivers.contract.engine import NetworkDriver
from netdrivers.contract.options import ENCRYPTED, is_on
from netdrivers.contract.specs import IPNetwork, Scope
from nodeagent.control.creation import MODES
from nodeagent.control.desired import build_desired, network_spec
from nodeagent.control.etcdir import read_resolv_conf
from nodeagent.control.etcfiles import parse_nameservers
from nodeagent.control.filters import Filters, Pruning
from nodeagent.control.netviews import network_row
from nodeagent.control.networkfilters import check_filters, is_listed
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.subnets import Taken, choose_subnets
from nodeagent.control.times import build_time
from nodeagent.errors import Busy, Conflict, Invalid, Missing, Refused
from nodeagent.model.network import (
    NetworkCreate,
    NetworkRecord,
    NetworkRow,
    SubnetRequest,
)
from nodeagent.model.volume import Pruned

# Docker takes any name; these characters would part it from what follows in --network and DNS
NAME = re.compile(r"(?![\s-])[^/:,=\x00-\x1f\x7f]{1,128}(?<!\s)")
RESERVED = ("default", "container")
PREDEFINED = {"host": "host", "none": "null", "bridge": "bridge"}  # driver by name
REMOVE_S = 30.0  # for the kernel's half of a removal; a guess
LINK_OPTION = "com.docker.network.bridge.name"
OVERLAY = "overlay"
TUNNEL_BYTES = 70  # of VXLAN over IPv6; 50 over IPv4, but who knows how each host is reached
SEALED_BYTES = 80  # of WireGuard over IPv6
MTU_OPTION = "com.docker.network.driver.mtu"


class Shared(Protocol):
    """What keeps networks of several hosts."""

    async def create(self, record: NetworkRecord) -> NetworkRecord:
        """Enter it for all hosts; the record with what it was given there."""
        ...

    async def rm(self, record: NetworkRecord) -> None:
        """Take it out for all hosts. Busy: it has endpoints on one of them."""


class Networks:
    """Use cases of networks."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        drivers: Mapping[str, NetworkDriver],
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._drivers = drivers
        self._choosing = trio.Lock()  # one choice of subnets at a time: choices must not overlap
        self.shared: Shared | None = None

    async def create(self, request: NetworkCreate, *, predefined: bool = False) -> NetworkRecord:
        """Make a network: intent first, then the kernel; undone if the kernel refuses.

        Raises:
            Invalid, Conflict (name taken, overlap), Exhausted (no subnet left), Refused.
        """
        with self._parts.inventory.reserve("network", request.name):
            async with self._choosing:
                record = await self._draft(request, predefined=predefined)
                if record.driver == OVERLAY and self.shared is not None:
                    record = await self.shared.create(record)
                await self._parts.inventory.put(record)
        await self._apply_or_forget(record)
        self._parts.events.publish("network", "create", record.id, record.name)
        return record

    async def draft(self, request: NetworkCreate) -> NetworkRecord:
        """The record that ``create`` would make now; nothing is kept, and the same is refused."""
        with self._parts.inventory.reserve("network", request.name):
            async with self._choosing:
                return await self._draft(request, predefined=False)

    async def _draft(self, request: NetworkCreate, *, predefined: bool) -> NetworkRecord:
        self._check(request)
        if request.driver in MODES and not predefined:
            raise Invalid(
                "there is one network of this driver: give it to a container by --network",
                field="driver",
                value=request.driver,
            )
        subnets = await self._subnets(request)
        record = NetworkRecord(
            id=self._parts.new_id(),
            name=request.name,
            created=build_time(self._parts.now()),
            driver=request.driver,
            subnets=subnets,
            internal=request.internal,
            ipv6=any(ip_network(each.subnet).version == 6 for each in subnets),
            mtu_bytes=await self._mtu(request),
            labels=request.labels,
            options=request.options,
            phase="ready",
            predefined=predefined,
            on_wire=self._is_on_wire(request),
        )
        self._drivers[record.driver].check(network_spec(record))
        self._check_link(record)
        return record

    def _check_link(self, record: NetworkRecord) -> None:
        """Refuse the name of a link that another network or container has, started or not."""
        name, inventory = record.options.get(LINK_OPTION, ""), self._parts.inventory
        if not name:
            return
        desired = build_desired(inventory.networks, inventory.containers.values())
        scope = Scope(networks=frozenset(desired.networks), sandboxes=frozenset(desired.sandboxes))
        for obj in self._parts.engine.objects(desired, scope):
            if ("link", "", name) not in obj.provides:
                continue
            what = "network" if obj.owner in inventory.networks else "container"
            holder = inventory.networks.get(obj.owner) or inventory.containers.get(obj.owner)
            if holder:
                raise Conflict(
                    f"link {name} belongs to {what} {holder.name}; choose another name",
                    field=f"options.{LINK_OPTION}",
                )

    def _check(self, request: NetworkCreate) -> None:
        if not NAME.fullmatch(request.name) or request.name in RESERVED:
            raise Invalid(
                "not a network name: up to 128 characters but for '/', ':', ',' and '=', "
                "no blank at its ends, no '-' at its start, not a reserved word",
                field="name",
                value=request.name,
            )
        if request.driver not in self._drivers:
            raise Invalid(
                "no such network driver",
                field="driver",
                value=request.driver,
                have=sorted(self._drivers),
            )

    async def _apply_or_forget(self, record: NetworkRecord) -> None:
        try:
            await self._sandboxes.apply_network(record.id)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._finish_rm(record)
            raise

    async def _mtu(self, request: NetworkCreate) -> int:
        text = request.options.get(MTU_OPTION, "")
        if text and not (text.isdecimal() and 68 <= int(text) <= 65535):
            raise Invalid("an MTU is 68 to 65535 bytes", field=f"options.{MTU_OPTION}", value=text)
        if text:
            return int(text)
        mtu = self._parts.settings.mtu_bytes or await self._parts.engine.uplink_mtu() or 1500
        if request.driver != OVERLAY:
            return mtu
        sealed = is_on(request.options, ENCRYPTED, default=True)
        return mtu - (SEALED_BYTES + TUNNEL_BYTES if sealed else TUNNEL_BYTES)

    async def _subnets(self, request: NetworkCreate) -> list[SubnetRequest]:
        if request.driver in MODES:
            return []
        routes = await self._parts.engine.host_routes()
        taken = Taken(
            networks=list(self._parts.inventory.networks.values()),
            avoid=[*(each.to for each in routes), *self._nameservers()],
        )
        return choose_subnets(
            request,
            taken,
            on_wire=self._is_on_wire(request),
            pools=self._parts.settings.pools,
            new_id=self._parts.new_id,
        )

    def _nameservers(self) -> list[IPNetwork]:
        """Who the host asks for names must stay in reach, even where the way is not there yet."""
        settings = self._parts.settings
        found = []
        for text in (*settings.dns_upstreams, *parse_nameservers(read_resolv_conf(settings))):
            with suppress(ValueError):  # what is no address is nobody's to avoid
                found.append(ip_network(text.partition("%")[0]))
        return found

    def _is_on_wire(self, request: NetworkCreate) -> bool:
        return self._drivers[request.driver].on_wire and not request.internal

    async def ensure_predefined(self) -> None:
        """Make the default network if it is not there yet, and the names of the two modes."""
        known = {each.name for each in self._parts.inventory.networks.values() if each.predefined}
        for name, driver in PREDEFINED.items():
            if name not in known and driver in self._drivers:
                await self.create(NetworkCreate(name=name, driver=driver), predefined=True)

    async def rm(self, name: str, *, force: bool = False) -> None:
        """Remove a network that no container is attached to; ``force``: none there is no error."""
        try:
            record = self.check_rm(name)
        except Missing:
            if force:
                return
            raise
        if record.shared is not None and self.shared is not None:
            await self.shared.rm(record)
        with trio.move_on_after(REMOVE_S, shield=True) as scope:  # half a removal helps nobody
            await self._finish_rm(record)
        if scope.cancelled_caught:
            raise Busy("the removal takes too long; try again", field="name", name=name)
        self._parts.events.publish("network", "destroy", record.id, record.name)

    def check_rm(self, name: str) -> NetworkRecord:
        """The network of that name, if it may be removed now (Refused, Busy names who uses it)."""
        record = self._parts.inventory.network(name)
        if record.predefined:
            raise Refused("a predefined network cannot be removed", field="name", name=name)
        members = self._parts.inventory.members(record.id)
        if members:
            raise Busy(
                f"network has active endpoints: {', '.join(sorted(m.name for m in members))}; "
                "disconnect them first",
                field="name",
                name=name,
            )
        return record

    async def _finish_rm(self, record: NetworkRecord) -> None:
        await self._parts.inventory.put(msgspec.structs.replace(record, phase="removing"))
        await self._sandboxes.apply_network(record.id)
        await self._parts.inventory.delete(record)

    async def finish_half_done(self) -> None:
        """At start, after the kernel was made to agree: forget networks that were being removed."""
        for record in list(self._parts.inventory.networks.values()):
            if record.phase == "removing":
                await self._parts.inventory.delete(record)

    async def prune(self, filters: Filters) -> Pruned:
        """Remove networks without endpoints, those that the filters mean."""
        pruning = Pruning.parse(filters, now=self._parts.now())
        inventory, deleted = self._parts.inventory, []
        for record in list(inventory.networks.values()):
            # who uses a network of several hosts is not known here: it is removed by name
            is_ours = not record.predefined and record.shared is None
            meant = is_ours and pruning.means(record.labels, record.created)
            if meant and not inventory.members(record.id):
                try:
                    await self.rm(record.id)
                except (Busy, Missing):
                    continue  # somebody uses or removed it meanwhile
                deleted.append(record.name)
        return Pruned(deleted=deleted, space_reclaimed=0)

    def ls(self, filters: Filters) -> list[NetworkRow]:
        """Networks by name."""
        check_filters(filters)
        inventory = self._parts.inventory
        return [
            network_row(record)
            for record in sorted(inventory.networks.values(), key=lambda each: each.name)
            if is_listed(record, filters, in_use=bool(inventory.members(record.id)))
        ]
