"""Who can reach a published port, in words: from the address and the host's networks. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from netdrivers.contract.specs import IPAddress, IPNetwork
from nodeagent.control.desired import VERSIONS, address_of, is_routed, own_ports, port_endpoint
from nodeagent.control.hostinfo import is_private
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
    if not (is_private(ip) or ip.is_link_local):
        return EVERYBODY
    near = max((net for net in links if ip in net), key=lambda net: net.prefixlen, default=None)
    if near is None or near.prefixlen == near.max_prefixlen:
        return f"who has a route to {ip}"
    return f"neighbours on {near}"


def say_closed(record: ContainerRecord, networks: Mapping[str, NetworkRecord], version: int) -> str:
    """Why no host port of this family leads to the container; "" if they do."""
    serves = port_endpoint(record, networks, version)
    if serves:
        routed = is_routed(networks[serves.network_id], version)
        return f"nobody: reached at {address_of(serves, version)} itself" if routed else ""
    joined = [networks[id_] for id_ in record.endpoints if id_ in networks]
    if not joined:
        return "nobody: the container is on no network"
    if all(network.internal for network in joined):
        return "nobody: the container is on internal networks only"
    if all(network.internal or network.on_wire for network in joined):
        return "nobody: the container's network publishes no ports"
    return f"nobody: no network that publishes gives the container IPv{version}"


def port_rows(
    record: ContainerRecord,
    networks: Mapping[str, NetworkRecord],
    addresses: Sequence[IPAddress],
    links: Sequence[IPNetwork],
    is_held: Callable[[BoundPort], bool],
) -> Iterator[PortRow]:
    """The lines of ``port ls`` for one container."""
    closed = {version: say_closed(record, networks, version) for version in VERSIONS}
    asked = {text: ip_address(text) for text in {port.host_ip for port in record.ports}}
    reach = {
        text: closed[ip.version] or say_reach(ip, addresses, links) for text, ip in asked.items()
    }
    for port in record.ports:
        yield _row(record, port, reach[port.host_ip], held=is_held(port))
    for port in own_ports(record, networks) if record.phase == "running" else ():
        who = f"who has a route to {port.host_ip}, the container's own"
        yield _row(record, port, who, held=False)  # no port of the host, so none to hold


def _row(record: ContainerRecord, port: BoundPort, reach: str, *, held: bool) -> PortRow:
    return PortRow(
        container=record.name,
        container_id=record.id,
        protocol=port.protocol,
        host_ip=port.host_ip,
        host_port=port.host_port,
        container_port=port.container_port,
        reach=reach,
        held=held,
    )
