"""Address leases of networks: from memory, held from the moment of choice."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol

from netdrivers.contract.specs import IPAddress, IPNetwork
from netdrivers.errors import Exhausted
from netdrivers.ipam import ends, free_address, host_count
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import ContainerRecord
from nodeagent.model.containerrequest import EndpointRequest
from nodeagent.model.network import NetworkRecord, SubnetRequest

FIELDS: Mapping[int, str] = {4: "ip", 6: "ip6"}


class Members(Protocol):
    """What knows the containers of a network."""

    def members(self, network_id: str) -> list[ContainerRecord]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An address that is somebody's: ``owner`` is the container's id."""

    network_id: str
    address: IPAddress
    owner: str


class Claims(Protocol):
    """What keeps several hosts from giving out one address twice."""

    async def read(self, network_id: str) -> set[IPAddress]:
        """Addresses that somebody has. Unavailable: that cannot be known now."""
        ...

    async def take(self, network_id: str, address: IPAddress, owner: str) -> bool:
        """Claim an address for a container; False: another one was faster."""
        ...


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is asked for of one family."""

    network: NetworkRecord
    subnets: list[SubnetRequest]
    asked: str
    field: str
    owner: str


class Addresses:
    """Who has which address on which network: the records' endpoints plus choices in flight."""

    def __init__(
        self, inventory: Members, host_addresses: Callable[[], Iterable[IPAddress]] = tuple
    ) -> None:
        self._inventory = inventory
        self._host_addresses = host_addresses
        self._pending: dict[tuple[str, IPAddress], str] = {}  # owner
        self._pending_macs: set[tuple[str, str]] = set()  # (network's id, MAC)
        self._last: dict[tuple[str, IPNetwork], IPAddress] = {}
        self.claims: Claims | None = None

    def is_pending(self, network_id: str, address: IPAddress) -> bool:
        """Whether it is chosen and not yet of a record."""
        return (network_id, address) in self._pending

    def used(self, network: NetworkRecord) -> set[IPAddress]:
        """Leased, pending, gateway and excluded addresses of a network; on a wire the host's."""
        leased = {
            ip_interface(text).ip
            for member in self._inventory.members(network.id)
            for text in member.endpoints[network.id].addresses
        }
        pending = {address for id_, address in self._pending if id_ == network.id}
        reserved = {
            ip_address(text)
            for subnet in network.subnets
            for text in (subnet.gateway, *subnet.aux_addresses.values())
        }
        elsewhere = {
            ip_address(text)
            for remote in (network.reach.remotes if network.reach else ())
            for text in remote.addresses
        }
        return leased | pending | reserved | elsewhere | self._of_host(network)

    def _of_host(self, network: NetworkRecord) -> set[IPAddress]:
        """Asked for each time: the host may get an address on the wire while we run."""
        if not network.on_wire:
            return set()
        nets = [ip_network(subnet.subnet) for subnet in network.subnets]
        return {each for each in self._host_addresses() if any(each in net for net in nets)}

    @asynccontextmanager
    async def lease(
        self, network: NetworkRecord, asked: EndpointRequest, owner: str, *, for_plan: bool = False
    ) -> AsyncIterator[list[str]]:
        """Choose one address per family, held until the block ends (then the record holds it).

        On a network of several hosts they are claimed, too, if it is not just ``for_plan``.

        Args:
            owner: the container's id.

        Raises:
            Invalid: a wanted address is malformed or in no subnet. Conflict: it is taken.
            Exhausted: none is free.
        """
        chosen: list[tuple[str, IPAddress]] = []
        others: set[IPAddress] = set()
        claims = self.claims if network.shared and not for_plan else None
        try:
            if claims is not None:
                others = await claims.read(network.id)
            texts = []
            for version, wanted in ((4, asked.ip), (6, asked.ip6)):
                subnets = [each for each in network.subnets if _version(each) == version]
                if not subnets:
                    continue
                subnet, address = await self._choose(
                    _Choice(network, subnets, wanted, FIELDS[version], owner), others, claims
                )
                chosen.append((network.id, address))
                texts.append(f"{address}/{ip_network(subnet.subnet).prefixlen}")
            yield texts
        finally:
            for key in chosen:
                del self._pending[key]

    async def _choose(
        self, choice: _Choice, others: set[IPAddress], claims: Claims | None
    ) -> tuple[SubnetRequest, IPAddress]:
        """An address that nobody has, pending when this returns; claimed if it must be."""
        while True:
            subnet, address = (
                self._wanted(choice, others) if choice.asked else self._next(choice, others)
            )
            key = (choice.network.id, address)
            self._pending[key] = choice.owner
            try:
                if claims is None or await claims.take(choice.network.id, address, choice.owner):
                    return subnet, address
            except BaseException:
                del self._pending[key]
                raise
            del self._pending[key]
            others.add(address)

    @contextmanager
    def hold_mac(self, network: NetworkRecord, mac: str) -> Iterator[None]:
        """Keep a MAC address from others until the block ends (Conflict names who has it)."""
        key = (network.id, mac)
        members = self._inventory.members(network.id)
        holders = [each.name for each in members if each.endpoints[network.id].mac == mac]
        if holders or key in self._pending_macs:
            raise Conflict(
                "the MAC address is in use on this network",
                field="mac_address",
                value=mac,
                by=holders[0] if holders else "a container that is being made",
            )
        self._pending_macs.add(key)
        try:
            yield
        finally:
            self._pending_macs.discard(key)

    def unowned(self, containers: Collection[str]) -> list[Lease]:
        """Leases that no record holds, of none of these containers.

        One is being made, or leaks: it is still here at the next look.
        """
        return [
            Lease(network_id=network_id, address=address, owner=owner)
            for (network_id, address), owner in self._pending.items()
            if owner not in containers
        ]

    def _next(self, choice: _Choice, others: set[IPAddress]) -> tuple[SubnetRequest, IPAddress]:
        """From the first subnet that has a free one."""
        used = self.used(choice.network) | others
        for subnet in choice.subnets:
            with suppress(Exhausted):
                return subnet, self._next_in(choice.network, subnet, used)
        raise Exhausted(
            "no address is left on the network",
            network=choice.network.name,
            ranges=" ".join(each.ip_range or each.subnet for each in choice.subnets),
        )

    def _next_in(
        self, network: NetworkRecord, subnet: SubnetRequest, used: Collection[IPAddress]
    ) -> IPAddress:
        net = ip_network(subnet.subnet)
        pool = ip_network(subnet.ip_range) if subnet.ip_range else net
        address: IPAddress = free_address(
            net, pool=pool, used=used, after=self._last.get((network.id, net))
        )
        self._last[network.id, net] = address
        return address

    def _wanted(self, choice: _Choice, others: set[IPAddress]) -> tuple[SubnetRequest, IPAddress]:
        text, field, subnets = choice.asked, choice.field, choice.subnets
        try:
            address = ip_address(text)
        except ValueError as exc:
            raise Invalid("not an IP address", field=field, value=text) from exc
        subnet = next((each for each in subnets if address in ip_network(each.subnet)), None)
        if subnet is None:
            raise Invalid(
                "the address is not in the network's subnet",
                field=field,
                value=text,
                subnet=" ".join(each.subnet for each in subnets),
            )
        if address in ends(ip_network(subnet.subnet)):
            raise Invalid(
                "hosts cannot have the address: it is the subnet's own, or its broadcast address",
                field=field,
                value=text,
                subnet=subnet.subnet,
            )
        if address in self.used(choice.network) | others:
            raise Conflict("the address is in use on this network", field=field, value=text)
        return subnet, address

    def count(self, network: NetworkRecord, subnet: SubnetRequest) -> tuple[int, int]:
        """(used, free) addresses of one subnet."""
        net = ip_network(subnet.subnet)
        used = sum(address in net for address in self.used(network))
        return used, max(0, host_count(net) - used)


def _version(subnet: SubnetRequest) -> int:
    return ip_network(subnet.subnet).version
