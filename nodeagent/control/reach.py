"""Who can reach a published port, in words: from the address and the host's networks. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from netdrivers.contract import IPAddress, IPNetwork
from nodeagent.control.desired import endpoints_in_order
from nodeagent.model.container import BoundPort, ContainerRecord
from nodeagent.model.network import NetworkRecord
from nodeagent.model.port import PortRow

HERE = "this host only"
EVERYBODY = "anyone who can route here"


def say_reach(ip: IPAddress, addresses: Sequence[IPAddress], links: Sequence[IPNetwork]) -> str:
    """Who gets as far as the port.

    Args:
        addresses: the host has.
        links: networks that are directly on one of its links.
    """
    if ip.is_loopback:
        return HERE
    if ip.is_unspecified:
        return EVERYBODY
    if ip not in addresses:
        return f"nobody: this host does not have {ip} now"
    if not ip.is_private:
        return EVERYBODY
    near = max((net for net in links if ip in net), key=lambda net: net.prefixlen, default=None)
    if near is None or near.prefixlen == near.max_prefixlen:
        return f"who has a route to {ip}"
    return f"neighbours on {near}"


def say_closed(record: ContainerRecord, networks: Mapping[str, NetworkRecord]) -> str:
    """Why no port of the container leads anywhere; "" if they do."""
    ordered = [networks[each.network_id] for each in endpoints_in_order(record, networks)]
    if not ordered:
        return "nobody: the container is on no network"
    if ordered[0].internal:
        return "nobody: the container is on internal networks only"
    if ordered[0].on_wire:
        return "nobody: the container's network publishes no ports"
    return ""


def port_rows(
    record: ContainerRecord,
    networks: Mapping[str, NetworkRecord],
    addresses: Sequence[IPAddress],
    links: Sequence[IPNetwork],
    is_held: Callable[[BoundPort], bool],
) -> Iterator[PortRow]:
    """The lines of ``port ls`` for one container."""
    closed = say_closed(record, networks)
    reach = {
        text: closed or say_reach(ip_address(text), addresses, links)
        for text in {port.host_ip for port in record.ports}
    }
    for port in record.ports:
        yield PortRow(
            container=record.name,
            container_id=record.id,
            protocol=port.protocol,
            host_ip=port.host_ip,
            host_port=port.host_port,
            container_port=port.container_port,
            reach=reach[port.host_ip],
            held=is_held(port),
        )
