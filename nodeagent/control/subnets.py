"""Which subnets a network gets: those asked for, once checked, or slices of the pools. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import msgspec

from netdrivers import ipam
from netdrivers.contract.specs import IPNetwork
from nodeagent.errors import Invalid
from nodeagent.model.network import NetworkCreate, NetworkRecord, SubnetRequest

PARENT = "parent"  # the option that names the host's link to a wire
# a route to half of all addresses is a default route in disguise (VPNs set two of them)
DISGUISED = {4: 1, 6: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What subnets must not overlap.

    ``avoid``: on this host; a network on a wire may overlap it, for its subnet is the wire's.
    """

    networks: Sequence[NetworkRecord] = ()
    avoid: Sequence[IPNetwork] = ()

    def by(self, request: NetworkCreate, *, on_wire: bool) -> list[IPNetwork]:
        """What is in the way of this network's subnets."""
        ours = [
            ip_network(subnet.subnet)
            for network in self.networks
            if not (on_wire and _apart(network, request))
            for subnet in network.subnets
        ]
        rest = [] if on_wire else self.avoid
        return ours + [net for net in rest if not is_disguised(net)]


@dataclass(slots=True)
class Choice:
    """The subnets of one network being made."""

    request: NetworkCreate
    on_wire: bool
    used: list[IPNetwork]
    chosen: list[SubnetRequest] = field(default_factory=list)

    def take_asked(self) -> None:
        """Those of the request (Invalid names the field and what it overlaps)."""
        for n, asked in enumerate(self.request.subnets):
            where = f"subnets[{n}]"
            subnet = ipam.parse_subnet(asked.subnet, field=f"{where}.subnet")
            clash = next((each for each in self.used if subnet.overlaps(each)), None)
            if clash is not None:
                raise Invalid(
                    "the subnet overlaps one that is in use on this "
                    f"{'wire' if self.on_wire else 'host'}; choose another",
                    field=f"{where}.subnet",
                    value=asked.subnet,
                    overlaps=str(clash),
                )
            self.used.append(subnet)
            self.chosen.append(_checked(asked, subnet, where))

    def has(self, version: int) -> bool:
        """Whether there is one of this family."""
        return any(ip_network(each.subnet).version == version for each in self.chosen)

    def add(self, net: IPNetwork) -> None:
        """One of our own choice."""
        self.used.append(net)
        self.chosen.append(SubnetRequest(subnet=str(net), gateway=str(ipam.gateway(net))))


def choose_subnets(
    request: NetworkCreate,
    taken: Taken,
    *,
    on_wire: bool,
    pools: Sequence[tuple[str, int]],
    new_id: Callable[[], str],
) -> list[SubnetRequest]:
    """The subnets of a new network, gateways filled in.

    Raises:
        Invalid: one does not fit, or a wire's subnet is not given. Exhausted: the pools are empty.
    """
    choice = Choice(request, on_wire, taken.by(request, on_wire=on_wire))
    choice.take_asked()
    if not request.ipv4 and choice.has(4):
        raise Invalid("a subnet of IPv4 is given, but IPv4 turned off", field="ipv4")
    if request.ipv6 is False and choice.has(6):
        raise Invalid("a subnet of IPv6 is given, but IPv6 turned off", field="ipv6")
    if on_wire:
        _check_wire(choice)
        return choice.chosen
    if request.ipv4 and not choice.has(4):
        bases = [(ip_network(base), size) for base, size in pools]
        choice.add(ipam.free_subnet(bases, used=choice.used))
    if request.ipv6 and not choice.has(6):
        choice.add(_ula(new_id()))
    if not choice.chosen:
        raise Invalid("without IPv4 a network needs IPv6: turn it on", field="ipv6")
    return choice.chosen


def is_disguised(net: IPNetwork) -> bool:
    """Whether a route to it is a default route in disguise."""
    return net.prefixlen <= DISGUISED[net.version]


def is_on_wire(networks: Iterable[NetworkRecord]) -> bool:
    """Whether there are such, and all of them are on a wire."""
    found = list(networks)
    return bool(found) and all(network.on_wire for network in found)


def _apart(network: NetworkRecord, request: NetworkCreate) -> bool:
    """Whether the network is on another wire, where the same addresses are other machines."""
    return network.on_wire and network.options.get(PARENT) != request.options.get(PARENT)


def _check_wire(choice: Choice) -> None:
    if not choice.chosen:
        raise Invalid(
            "give the wire's subnet, for its addresses are not ours to choose: "
            "--subnet 192.0.2.0/24, and --gateway if that is not the first address",
            field="subnets",
        )
    if choice.request.ipv6 and not choice.has(6):
        raise Invalid("give the wire's IPv6 subnet, too", field="subnets")


def _checked(asked: SubnetRequest, net: IPNetwork, field: str) -> SubnetRequest:
    gateway = (
        ipam.parse_address(asked.gateway, field=f"{field}.gateway")
        if asked.gateway
        else ipam.gateway(net)
    )
    ipam.check_subnet(
        net,
        gateway=gateway,
        ip_range=ipam.parse_range(asked.ip_range, field=f"{field}.ip_range")
        if asked.ip_range
        else None,
        aux=[
            ipam.parse_address(text, field=f"{field}.aux_addresses.{name}")
            for name, text in asked.aux_addresses.items()
        ],
    )
    return msgspec.structs.replace(asked, subnet=str(net), gateway=str(gateway))


def _ula(digits: str) -> IPNetwork:
    """A /64 of RFC 4193's random prefixes: 40 random bits, so no look-up is needed."""
    return ip_network(f"fd{digits[0:2]}:{digits[2:6]}:{digits[6:10]}::/64")
