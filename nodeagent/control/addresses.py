"""Address leases of networks: from memory, held from the moment of choice."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
        return leased | pending | reserved | self._of_host(network)

    def _of_host(self, network: NetworkRecord) -> set[IPAddress]:
        """Asked for each time: the host may get an address on the wire while we run."""
        if not network.on_wire:
            return set()
        nets = [ip_network(subnet.subnet) for subnet in network.subnets]
        return {each for each in self._host_addresses() if any(each in net for net in nets)}

    @contextmanager
    def lease(
        self, network: NetworkRecord, asked: EndpointRequest, owner: str
    ) -> Iterator[list[str]]:
        """Choose one address per family, held until the block ends (then the record holds it).

        Args:
            owner: the container's id.

        Raises:
            Invalid: a wanted address is malformed or in no subnet. Conflict: it is taken.
            Exhausted: none is free.
        """
        chosen: list[tuple[str, IPAddress]] = []
        try:
            texts = []
            for version, wanted in ((4, asked.ip), (6, asked.ip6)):
                subnets = [each for each in network.subnets if _version(each) == version]
                if not subnets:
                    continue
                subnet, address = (
                    self._wanted(network, subnets, wanted, FIELDS[version])
                    if wanted
                    else self._next(network, subnets)
                )
                self._pending[network.id, address] = owner
                chosen.append((network.id, address))
                texts.append(f"{address}/{ip_network(subnet.subnet).prefixlen}")
            yield texts
        finally:
            for key in chosen:
                del self._pending[key]

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

    def _next(
        self, network: NetworkRecord, subnets: list[SubnetRequest]
    ) -> tuple[SubnetRequest, IPAddress]:
        """From the first subnet that has a free one."""
        used = self.used(network)
        for subnet in subnets:
            with suppress(Exhausted):
                return subnet, self._next_in(network, subnet, used)
        raise Exhausted(
            "no address is left on the network",
            network=network.name,
            ranges=" ".join(each.ip_range or each.subnet for each in subnets),
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

    def _wanted(
        self, network: NetworkRecord, subnets: list[SubnetRequest], text: str, field: str
    ) -> tuple[SubnetRequest, IPAddress]:
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
        if address in self.used(network):
            raise Conflict("the address is in use on this network", field=field, value=text)
        return subnet, address

    def count(self, network: NetworkRecord, subnet: SubnetRequest) -> tuple[int, int]:
        """(used, free) addresses of one subnet."""
        net = ip_network(subnet.subnet)
        used = sum(address in net for address in self.used(network))
        return used, max(0, host_count(net) - used)


def _version(subnet: SubnetRequest) -> int:
    return ip_network(subnet.subnet).version
