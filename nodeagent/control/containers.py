"""Containers as objects: create, list, inspect, rename. Their life is in lifecycle.py."""

import re
from typing import TYPE_CHECKING

import msgspec
import trio

from netdrivers import ipam
from nodeagent.control.addresses import Addresses
from nodeagent.control.creation import (
    check_endpoint,
    check_name,
    check_publish_address,
    check_request,
    generate_name,
    matches_labels,
    merge_labels,
    resolve_args,
    resolve_env,
    resolve_expose,
    resolve_mounts,
    split_mode,
)
from nodeagent.control.desired import PREDEFINED, build_gateways, wanted_ports
from nodeagent.control.filters import check_known
from nodeagent.control.health import Health, resolve_check
from nodeagent.control.held import Held
from nodeagent.control.hostinfo import host_name, security_modules
from nodeagent.control.idranges import hold_ids
from nodeagent.control.logoptions import resolve_log
from nodeagent.control.namespacerules import check_namespaces
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.securityrules import check_security
from nodeagent.control.subnets import is_on_wire
from nodeagent.control.times import build_time, parse_time
from nodeagent.control.views import Surroundings, container_row, container_view, state_view, status
from nodeagent.control.volumes import Volumes
from nodeagent.control.volumeuse import UNDO_S, spec
from nodeagent.errors import Conflict, Invalid, Missing, kind_of
from nodeagent.model.container import ContainerRecord, EndpointRecord
from nodeagent.model.containerrequest import ContainerCreate, EndpointRequest
from nodeagent.model.containerview import ContainerRow, ContainerView
from nodeagent.model.network import NetworkRecord
from nodeagent.model.volume import VolumeCreate, VolumeRecord
from runtime.contract.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

FILTERS = (
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since",
    "status", "volume",
)  # fmt: skip
INTERFACE = re.compile(r"eth(\d+)")


class Containers:
    """Use cases of containers that touch no kernel object."""

    def __init__(
        self, parts: Parts, sandboxes: Sandboxes, addresses: Addresses, volumes: Volumes
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._addresses = addresses
        self._volumes = volumes
        self.is_paused: Callable[[str], bool] = lambda _id: False
        self.is_restarting: Callable[[str], bool] = lambda _id: False
        self.try_at: Callable[[str], float] = lambda _id: 0.0
        self.pid_of: Callable[[str], int] = lambda _id: 0
        self.health_of: Callable[[str], Health | None] = lambda _id: None
        self.step: Callable[[str], AbstractAsyncContextManager[ContainerRecord]]  # lifecycle's

    # --- create -----------------------------------------------------------------------------

    async def create(self, request: ContainerCreate) -> ContainerRecord:
        """Record a container, its addresses and its volumes in one transaction.

        Nothing is made in the kernel before it starts, so a kill leaves nothing half-made.
        """
        async with Held() as held:
            record, volumes = await self.draft(request, held)
            await self._parts.inventory.put(*volumes, record)
        await self._make_volumes(record, volumes)
        self._sandboxes.publish_names()
        self._parts.events.tell(record, "create")
        return record

    async def draft(
        self, request: ContainerCreate, held: Held
    ) -> tuple[ContainerRecord, list[VolumeRecord]]:
        """What ``create`` would commit; name and addresses are its while ``held`` is."""
        check_request(request)
        check_namespaces(request)
        check_security(request, security_modules())
        if request.uts_mode == "host":
            request = msgspec.structs.replace(request, hostname=host_name())
        image = self._parts.images.get(request.image)
        id_ = self._parts.new_id()
        name = request.name or generate_name(id_, self._is_taken)
        held.enter_context(self._parts.inventory.reserve("container", name))
        mode, endpoints = await self._attach(request, id_, held)
        record = self._record(request, image, id_, name)
        ids = hold_ids(self._parts, held) if request.userns_mode == "auto" else None
        record = msgspec.structs.replace(record, network_mode=mode, endpoints=endpoints, ids=ids)
        self._check_ports(record)
        return record, self._new_volumes(record, request)

    async def _make_volumes(self, record: ContainerRecord, volumes: list[VolumeRecord]) -> None:
        try:
            await self._volumes.make(volumes)
        except BaseException:  # Cancelled too: who asked does not know its name
            with trio.move_on_after(UNDO_S, shield=True):
                await self._parts.inventory.delete(record)
                for volume in volumes:
                    await self._volumes.forget_unused(volume)
            raise

    def _is_taken(self, name: str) -> bool:
        return any(each.name == name for each in self._parts.inventory.containers.values())

    def _record(
        self, request: ContainerCreate, image: Image, id_: str, name: str
    ) -> ContainerRecord:
        config = image.config
        return ContainerRecord(
            id=id_,
            name=name,
            created=build_time(self._parts.now()),
            image_id=image.id,
            image_name=request.image,
            request=request,
            args=resolve_args(request, config),
            env=resolve_env(request, config, request.hostname or id_[:12]),
            working_dir=request.working_dir or config.working_dir or "/",
            user=request.user or config.user,
            stop_signal=request.stop_signal or config.stop_signal or "SIGTERM",
            labels=merge_labels(config.labels, request.labels),
            mounts=resolve_mounts(request, config, self._parts.new_id),
            expose=resolve_expose(request, config),
            pid_owner=self._owner(request.pid_mode),
            ipc_owner=self._ipc_owner(request),
            health=resolve_check(request.health, config, request.health.on_unhealthy),
            log=resolve_log(request, self._parts.settings.logs),
            phase="created",
            network_mode="",
        )

    def _check_ports(self, record: ContainerRecord) -> None:
        networks = [self._parts.inventory.networks[id_] for id_ in record.endpoints]
        if wanted_ports(record) and is_on_wire(networks):
            raise Invalid(
                "a network on a wire publishes no ports: the container has an address of its own "
                "there; to publish, connect it to a bridge network, too",
                field="ports",
                network=networks[0].name,
            )
        if record.request.ports and not wanted_ports(record):
            raise Invalid(
                "ports cannot be published in this network mode",
                field="ports",
                network_mode=record.request.network_mode,
            )
        for n, port in enumerate(record.request.ports):
            field = f"ports[{n}].host_ip"
            if port.host_ip:
                check_publish_address(ipam.parse_address(port.host_ip, field=field), field=field)
            if port.host_port_end and not 0 < port.host_port <= port.host_port_end:
                raise Invalid(
                    "a range of host ports rises from host_port to host_port_end",
                    field=f"ports[{n}].host_port_end",
                    value=port.host_port_end,
                )

    def _new_volumes(self, record: ContainerRecord, request: ContainerCreate) -> list[VolumeRecord]:
        options = {each.source: each.volume_options for each in request.mounts if each.source}
        found: dict[str, VolumeRecord] = {}
        for mount in record.mounts:
            if mount.type != "volume":
                continue
            known = self._parts.inventory.volumes.get(mount.name)
            wanted = VolumeCreate(
                name=mount.name,
                driver=known.driver if known else mount.driver,
                options=options.get(mount.name, {}),
            )
            volume = self._volumes.record(wanted, anonymous=mount.anonymous)
            if known is None:
                found[mount.name] = volume
        return list(found.values())

    # --- networks at creation -----------------------------------------------------------------

    async def _attach(
        self, request: ContainerCreate, id_: str, held: Held
    ) -> tuple[str, dict[str, EndpointRecord]]:
        """(resolved mode, endpoints by network id); addresses stay leased while ``held`` is."""
        head, tail = split_mode(request.network_mode)
        if head == "container":
            return self._joined(request, tail), {}
        if head in {"host", "none"}:
            if request.networks:
                raise Invalid(f"network mode {head} joins no further network", field="networks")
            return head, {}
        first = self._parts.inventory.network(PREDEFINED if head == "default" else head)
        wanted = {first.id: request.networks.get(head, EndpointRequest())}
        for name, asked in request.networks.items():
            wanted.setdefault(self._parts.inventory.network(name).id, asked)
        endpoints: dict[str, EndpointRecord] = {}
        for n, (network_id, asked) in enumerate(wanted.items()):
            network = self._parts.inventory.networks[network_id]
            endpoints[network_id] = await self.endpoint(network, asked, f"eth{n}", id_, held)
        return first.id, endpoints

    def _owner(self, mode: str) -> str:
        head, target = split_mode(mode)
        return self._parts.inventory.container(target).id if head == "container" else ""

    def _ipc_owner(self, request: ContainerCreate) -> str:
        owner = self._owner(request.ipc_mode)
        if owner and self._parts.inventory.container(owner).request.ipc_mode != "shareable":
            raise Conflict(
                "the container does not share its IPC; create it with ipc_mode shareable",
                field="ipc_mode",
                owner=owner[:12],
            )
        return owner

    def _joined(self, request: ContainerCreate, target: str) -> str:
        clashes = {
            "ports": request.ports or request.publish_all, "dns": request.dns,
            "extra_hosts": request.extra_hosts, "hostname": request.hostname,
            "networks": request.networks, "expose": request.expose,
            "dns_search": request.dns_search, "dns_options": request.dns_options,
        }  # fmt: skip
        for field, value in clashes.items():
            if value:
                raise Invalid("conflicts with joining another container's network", field=field)
        return f"container:{self._parts.inventory.container(target).id}"

    async def endpoint(
        self,
        network: NetworkRecord,
        asked: EndpointRequest,
        interface: str,
        owner: str,
        held: Held,
    ) -> EndpointRecord:
        """A new endpoint with leased addresses; ``held`` keeps them until the record does."""
        if self._parts.inventory.is_leaving(network):
            raise Conflict("the network is being removed", field="network", name=network.name)
        check_endpoint(network, asked)
        lease = self._addresses.lease(network, asked, owner, for_plan=held.for_plan)
        addresses = await held.enter_async_context(lease)
        mac = (
            ipam.parse_mac(asked.mac_address, field="mac_address")
            if asked.mac_address
            else ipam.mac_for(_mac_seed(network, addresses) or self._parts.new_id())
        )
        held.enter_context(self._addresses.hold_mac(network, mac))
        return EndpointRecord(
            id=self._parts.new_id(),
            network_id=network.id,
            interface=interface,
            mac=mac,
            addresses=addresses,
            gateways=build_gateways(network, addresses),
            aliases=asked.aliases,
            requested=asked,
        )

    @staticmethod
    def free_interface(record: ContainerRecord) -> str:
        """The lowest ``ethN`` the container does not use."""
        used = {each.interface for each in record.endpoints.values()}
        return next(f"eth{n}" for n in range(len(used) + 1) if f"eth{n}" not in used)

    # --- read ---------------------------------------------------------------------------------

    async def rename(self, name: str, new_name: str) -> None:
        """Give another name; DNS follows at once."""
        check_name(new_name, field="new_name")
        async with self.step(name) as record:
            with self._parts.inventory.reserve("container", new_name):
                await self._parts.inventory.put(msgspec.structs.replace(record, name=new_name))
        self._sandboxes.publish_names()
        self._parts.events.tell(
            self._parts.inventory.container(new_name), "rename", oldName=record.name
        )

    def ls(self, *, everything: bool, filters: dict[str, list[str]]) -> list[ContainerRow]:
        """Containers, newest first."""
        check_known(filters, FILTERS)
        everything = everything or "status" in filters or "exited" in filters
        records = [
            record
            for record in self._parts.inventory.containers.values()
            if (everything or record.phase == "running") and self._passes(record, filters)
        ]
        records.sort(key=lambda each: each.created, reverse=True)
        now = self._parts.now()
        networks = self._parts.inventory.networks
        return [
            container_row(
                record,
                networks,
                **self._flags(record.id),
                now=now,
                health=self.health_of(record.id),
                try_at=self.try_at(record.id),
            )
            for record in records
        ]

    def _passes(self, record: ContainerRecord, filters: dict[str, list[str]]) -> bool:
        state = status(record, **self._flags(record.id))
        networks = self._parts.inventory.networks
        known = [networks[id_] for id_ in record.endpoints if id_ in networks]
        joined = {each.name for each in known} | set(record.endpoints)
        mounted = {word for each in record.mounts for word in (each.name, each.target)}
        exited = str(record.exit_code) if record.phase == "exited" else ""
        health = self.health_of(record.id)
        one_of: dict[str, set[str]] = {
            "status": {state},
            "network": joined or {record.network_mode},
            "ancestor": {record.image_name, record.image_id, record.image_id[7:19],
                         record.image_name.removesuffix(":latest")},
            "exited": {exited},
            "health": {health.status if health else "none"},
            "volume": mounted,
        }  # fmt: skip
        return (
            all(one_of[key] & set(filters[key]) for key in one_of if key in filters)
            and any(word in record.name for word in filters.get("name", [""]))
            and any(record.id.startswith(word) for word in filters.get("id", [""]))
            and matches_labels(record.labels, filters.get("label", []))
            and self._in_time(record, filters)
        )

    def _flags(self, id_: str) -> dict[str, bool]:
        return {"paused": self.is_paused(id_), "restarting": self.is_restarting(id_)}

    def _in_time(self, record: ContainerRecord, filters: dict[str, list[str]]) -> bool:
        created = parse_time(record.created)
        find = self._parts.inventory.container
        after = [parse_time(find(name).created) for name in filters.get("since", [])]
        before = [parse_time(find(name).created) for name in filters.get("before", [])]
        return all(created > each for each in after) and all(created < each for each in before)

    def inspect(self, names: list[str]) -> list[ContainerView]:
        """All about containers, in the order asked for."""
        return [self._view(self._parts.inventory.container(name)) for name in names]

    def _view(self, record: ContainerRecord) -> ContainerView:
        settings = self._parts.settings
        pid, health = self.pid_of(record.id), self.health_of(record.id)
        state = state_view(record, pid=pid, **self._flags(record.id), health=health)
        around = Surroundings(
            networks=self._parts.inventory.networks,
            image=self._image(record),
            sources=self._sources(record),
            etc=settings.root / "containers" / record.id / "etc",
            run=settings.run,
            log_path=self._parts.runtime.logbook.path(record.id),
            live=self._sandboxes.is_live(record.id),
        )
        return container_view(record, state, around)

    def _image(self, record: ContainerRecord) -> Image | None:
        try:
            return self._parts.images.get(record.image_id)
        except Exception as exc:
            if kind_of(exc) != Missing.kind:
                raise
            return None

    def _sources(self, record: ContainerRecord) -> dict[str, str]:
        volumes, drivers = self._parts.inventory.volumes, self._parts.volume_drivers
        found = {}
        for mount in record.mounts:
            if volume := volumes.get(mount.name):
                place = drivers.of(volume.driver).mountpoint(spec(volume))
                found[mount.target] = str(place or "")
        return found


def _mac_seed(network: NetworkRecord, addresses: list[str]) -> str:
    """What the MAC address is made of where it follows from the address, else "".

    On a network of several hosts, neighbours elsewhere are not told when an address gets another
    MAC; theirs stay right for the next one who has it.
    """
    if network.shared is None:
        return ""
    return f"{network.id} {' '.join(addresses)}"
