"""Host ports of containers: who holds which, from before the start until after the end."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import trio

from netdrivers.contract.specs import IPAddress, PublishedPort
from netdrivers.ipam import parse_address
from nodeagent.control import hostinfo
from nodeagent.control.desired import mapped_versions, port_endpoint, wanted_ports
from nodeagent.control.parts import Parts
from nodeagent.control.reach import port_rows
from nodeagent.errors import Conflict, Invalid, fields_of, kind_of
from nodeagent.model.container import BoundPort, ContainerRecord
from nodeagent.model.containerrequest import PortBinding
from nodeagent.model.port import PortRow

log = logging.getLogger(__name__)

PICK_TRIES = 16  # random ports tried until one is free on every address
TURN = 64  # ports chosen before others have their turn

FILTERS = ("container", "protocol")
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"

_Key = tuple[object, ...]  # protocol, host address, host port


class Ports:
    """Binds what containers ask for, all or none a container, and says who is in the way."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._held: dict[str, dict[_Key, BoundPort]] = {}  # by container
        self._owners: dict[_Key, str] = {}
        self._told: set[tuple[str, _Key]] = set()  # what could not be held, told once
        self.conflicts = 0

    async def bind(self, record: ContainerRecord) -> list[BoundPort]:
        """Hold every host port the container asks for; random ones are chosen here.

        Raises:
            Conflict: a port is taken (fields host_ip, host_port, protocol, and container, or pid
                and command of who has it). Nothing is held then.
        """
        self.release(record.id)
        families = mapped_versions(record, self._parts.inventory.networks)
        wanted = wanted_ports(record) if families else []
        addresses = self._addresses(record, wanted, families)
        bound: list[list[BoundPort]] = [[] for _ in wanted]
        try:
            # those that have no choice first: a chosen one must not take what they ask for
            for n, port in enumerate(wanted):
                if port.host_port and not port.host_port_end:
                    bound[n] = _halves(port, addresses[n], port.host_port)
            await self._hold(record.id, [half for each in bound for half in each])
            for n, port in enumerate(wanted):
                if not bound[n]:
                    bound[n] = await self._choose(record.id, port, addresses[n])
                if n % TURN == TURN - 1:
                    await trio.lowlevel.checkpoint()
        except BaseException as exc:
            self.release(record.id)
            if kind_of(exc) == "conflict":
                self._tell(record, exc)
            raise
        chosen = [half for each in bound for half in each]
        if any(half.protocol == "sctp" and not self.is_held(half) for half in chosen):
            log.warning(
                "this kernel has no SCTP sockets: the port is published, and held between"
                " containers only",
                extra={"id": record.id[:12]},
            )
        return chosen

    @asynccontextmanager
    async def tried(self, record: ContainerRecord) -> AsyncIterator[list[BoundPort]]:
        """Hold the ports of a container that is only planned, to the end of the block."""
        bound = await self.bind(record)
        try:
            yield bound
        finally:
            self.release(record.id)

    async def add(self, record: ContainerRecord, ports: Iterable[BoundPort]) -> list[BoundPort]:
        """Hold further ports of a container, each by itself; those that could be held.

        What cannot be is told once, as a warning and an event, until it can.
        """
        done = []
        for port in ports:
            known = (record.id, _key(port))
            try:
                await self._hold(record.id, [port])
            except Exception as exc:
                if not kind_of(exc):
                    raise
                if known not in self._told:
                    self._told.add(known)
                    self._tell(record, exc)
            else:
                self._told.discard(known)
                done.append(port)
        return done

    async def hold_again(self, record: ContainerRecord) -> None:
        """Hold what the record says, as far as it is not held.

        A port that somebody took meanwhile stays published: ours was first, and is in the kernel.
        """
        held = self._held.get(record.id, {})
        await self.add(record, [port for port in record.ports if _key(port) not in held])

    def release(self, container_id: str, ports: Iterable[BoundPort] | None = None) -> None:
        """Let go what this container holds, or some of it, and nothing that others hold since."""
        held = self._held.get(container_id, {})
        gone = [_key(port) for port in ports] if ports is not None else list(held)
        self._parts.engine.release_ports(specs(held[key] for key in gone if key in held))
        for key in gone:
            if held.pop(key, None) is not None:
                del self._owners[key]
        if not held:
            self._held.pop(container_id, None)
            self._told = {each for each in self._told if each[0] != container_id}

    def unheld(self) -> int:
        """How many published ports somebody else could take, or has."""
        records = self._parts.inventory.containers.values()
        return sum(
            _key(port) not in self._held.get(record.id, {})
            for record in records
            for port in record.ports
        )

    def holds_all(self, record: ContainerRecord) -> bool:
        """Whether there is nothing left to hold again."""
        held = self._held.get(record.id, {})
        return all(_key(port) in held for port in record.ports)

    def held(self) -> dict[str, int]:
        """How many are held, by container."""
        return {id_: len(ports) for id_, ports in self._held.items()}

    def is_held(self, port: BoundPort) -> bool:
        """Whether a socket keeps others from the port."""
        (spec,) = specs([port])
        return _key(port) in self._owners and self._parts.engine.is_bound(spec)

    def default_addresses(self, record: ContainerRecord) -> list[IPAddress]:
        """Where a port without an address of its own is published now, in the container's families.

        The network that leads outside may have an IPv4 address of its own for that.
        """
        networks = self._parts.inventory.networks
        gateways = {ip_address(net.gateway) for each in networks.values() for net in each.subnets}
        chosen = hostinfo.choose_publish_addresses(
            self._parts.settings.publish_addresses, hostinfo.read_addresses(), gateways
        )
        serves = port_endpoint(record, networks, 4)
        own = networks[serves.network_id].options.get(HOST_BINDING, "") if serves else ""
        if own:
            first = parse_address(own, field=f"options.{HOST_BINDING}")
            chosen = [first, *(each for each in chosen if each.version != 4)]
        families = mapped_versions(record, networks)
        return [each for each in chosen if each.version in families]

    def ls(self, filters: Mapping[str, list[str]]) -> list[PortRow]:
        """Every published port of every container, with who can reach it.

        Raises:
            Invalid: no such filter.
        """
        for key in filters:
            if key not in FILTERS:
                raise Invalid("no such filter", field="filters", value=key, have=FILTERS)
        addresses, links = hostinfo.read_addresses(), hostinfo.read_links()
        networks = self._parts.inventory.networks
        rows = [
            row
            for record in self._parts.inventory.containers.values()
            if _is_asked_for(record, filters.get("container", []))
            for row in port_rows(record, networks, addresses, links, self.is_held)
            if row.protocol in filters.get("protocol", [row.protocol])
        ]
        return sorted(rows, key=lambda row: (row.host_port, row.protocol, row.host_ip))

    def counts(self) -> dict[str, int]:
        """How many ports are published, by protocol."""
        records = self._parts.inventory.containers.values()
        return Counter(port.protocol for record in records for port in record.ports)

    # --- the steps --------------------------------------------------------------------------

    def _addresses(
        self, record: ContainerRecord, wanted: Sequence[PortBinding], families: set[int]
    ) -> list[list[IPAddress]]:
        has_default = any(not each.host_ip for each in wanted)
        default = self.default_addresses(record) if has_default else []
        found = []
        for port in wanted:
            own = [ip_address(port.host_ip)] if port.host_ip else default
            found.append([each for each in own if each.version in families])
            if not found[-1]:
                raise Invalid(
                    "no address to publish the port on, of a family in which the container has"
                    " ports of the host",
                    field="ports",
                    host_ip=port.host_ip,
                    container_port=port.container_port,
                )
        return found

    async def _hold(self, container_id: str, ports: list[BoundPort]) -> None:
        try:
            await self._parts.engine.hold_ports(specs(ports))
        except Exception as exc:
            if kind_of(exc) != "conflict":
                raise
            raise self._explain(container_id, exc) from exc
        self._note(container_id, ports)

    def _note(self, container_id: str, ports: Iterable[BoundPort]) -> None:
        keys = {_key(port): port for port in ports}
        self._held.setdefault(container_id, {}).update(keys)
        self._owners |= dict.fromkeys(keys, container_id)

    def _explain(self, container_id: str, exc: Exception) -> Conflict:
        """Whose the port is: another container's, this one's a second time, or a process's."""
        fields = fields_of(exc)
        by = fields.pop("held_ip", None)
        if by is None:
            return Conflict("address already in use", **fields)
        key = (fields["protocol"], str(by), fields["host_port"])
        owner = self._owners.get(key, container_id)
        if owner == container_id:
            return Conflict("the container asks for the port twice", **fields)
        known = self._parts.inventory.containers.get(owner)
        name = known.name if known else owner[:12]
        return Conflict("port is already allocated", **fields, container=name)

    async def _choose(
        self, container_id: str, port: PortBinding, addresses: list[IPAddress]
    ) -> list[BoundPort]:
        if port.host_port_end:
            return await self._first_of_range(container_id, port, addresses)
        for _ in range(PICK_TRIES):
            number = self._parts.engine.pick_port(port.protocol, addresses[0])
            first, *others = _halves(port, addresses, number)
            self._note(container_id, [first])
            try:
                await self._hold(container_id, others)
            except Exception as exc:
                self.release(container_id, [first])
                if kind_of(exc) != "conflict":
                    raise
            else:
                return [first, *others]
        raise Conflict("no port is free on all publish addresses", field="ports")

    async def _first_of_range(
        self, container_id: str, port: PortBinding, addresses: list[IPAddress]
    ) -> list[BoundPort]:
        last: Exception | None = None
        for number in range(port.host_port, port.host_port_end + 1):
            halves = _halves(port, addresses, number)
            try:
                await self._hold(container_id, halves)
            except Conflict as exc:
                last = exc
            else:
                return halves
        raise Conflict(
            "no port of the range is free",
            field="ports",
            range=f"{port.host_port}-{port.host_port_end}",
            last=str(last),
        )

    def _tell(self, record: ContainerRecord, exc: BaseException) -> None:
        log.warning(
            "a published port cannot be held", extra={"id": record.id[:12], "error": str(exc)}
        )
        if kind_of(exc) == "conflict":
            self.conflicts += 1
            said = {key: str(value) for key, value in fields_of(exc).items()}
            self._parts.events.tell(record, "port-conflict", error=str(exc), **said)


def _is_asked_for(record: ContainerRecord, words: list[str]) -> bool:
    return not words or any(word == record.name or record.id.startswith(word) for word in words)


def _halves(port: PortBinding, addresses: Iterable[IPAddress], number: int) -> list[BoundPort]:
    """The port on each of the addresses."""
    return [
        BoundPort(
            container_port=port.container_port,
            protocol=port.protocol,
            host_ip=str(address),
            host_port=number,
            by_default=not port.host_ip,
        )
        for address in addresses
    ]


def _key(port: PortBinding) -> _Key:
    return (port.protocol, port.host_ip, port.host_port)


def specs(ports: Iterable[PortBinding]) -> list[PublishedPort]:
    """Host halves of the ports; what they lead to does not matter for holding them."""
    parsed: dict[str, IPAddress] = {}  # thousands of ports have a few addresses
    found = []
    for port in ports:
        ip = parsed.get(port.host_ip) or parsed.setdefault(port.host_ip, ip_address(port.host_ip))
        found.append(
            PublishedPort(
                protocol=port.protocol,
                host_ip=ip,
                host_port=port.host_port,
                container_ip=ip,
                container_port=port.container_port,
            )
        )
    return found
