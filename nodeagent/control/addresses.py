"""Address leases of networks: from memory, held from the moment of choice."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol

from netdrivers.contract import IPAddress, IPNetwork
from netdrivers.ipam import free_address, host_count
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import ContainerRecord, EndpointRequest
from nodeagent.model.network import NetworkRecord, SubnetRequest


class Members(Protocol):
    """What knows the containers of a network."""

    def members(self, network_id: str) -> list[ContainerRecord]: ...


class Addresses:
    """Who has which address on which network: the records' endpoints plus choices in flight."""

    def __init__(self, inventory: Members) -> None:
        self._inventory = inventory
        self._pending: set[tuple[str, IPAddress]] = set()
        self._last: dict[tuple[str, IPNetwork], IPAddress] = {}

    def used(self, network: NetworkRecord) -> set[IPAddress]:
        """Leased, pending, gateway and excluded addresses of a network."""
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
        return leased | pending | reserved

    @contextmanager
    def lease(self, network: NetworkRecord, asked: EndpointRequest) -> Iterator[list[str]]:
        """Choose one address per subnet, held until the block ends (then the record holds it).

        Raises:
            Invalid: a wanted address is malformed or in no subnet. Conflict: it is taken.
            Exhausted: none is free.
        """
        chosen: list[tuple[IPAddress, int]] = []
        try:
            for subnet in network.subnets:
                net = ip_network(subnet.subnet)
                wanted = asked.ip if net.version == 4 else asked.ip6
                address = (
                    self._wanted(network, net, wanted, f"ip{'6' * (net.version == 6)}")
                    if wanted
                    else self._next(network, net, subnet)
                )
                self._pending.add((network.id, address))
                chosen.append((address, net.prefixlen))
            yield [f"{address}/{prefix}" for address, prefix in chosen]
        finally:
            self._pending -= {(network.id, address) for address, _ in chosen}

    def _next(self, network: NetworkRecord, net: IPNetwork, subnet: SubnetRequest) -> IPAddress:
        pool = ip_network(subnet.ip_range) if subnet.ip_range else net
        address: IPAddress = free_address(
            net, pool=pool, used=self.used(network), after=self._last.get((network.id, net))
        )
        self._last[network.id, net] = address
        return address

    def _wanted(self, network: NetworkRecord, net: IPNetwork, text: str, field: str) -> IPAddress:
        try:
            address = ip_address(text)
        except ValueError as exc:
            raise Invalid("not an IP address", field=field, value=text) from exc
        if address not in net:
            raise Invalid(
                "the address is not in the network's subnet", field=field, value=text, subnet=net
            )
        if address in self.used(network) or address in _ends(net):
            raise Conflict("the address is in use on this network", field=field, value=text)
        return address

    def count(self, network: NetworkRecord, subnet: SubnetRequest) -> tuple[int, int]:
        """(used, free) addresses of one subnet."""
        net = ip_network(subnet.subnet)
        used = sum(address in net for address in self.used(network))
        return used, max(0, host_count(net) - used)


def _ends(net: IPNetwork) -> Sequence[IPAddress]:
    """Addresses that no host may have: network and broadcast, where there are such."""
    return () if net.prefixlen >= net.max_prefixlen - 1 else (net[0], net[-1])
