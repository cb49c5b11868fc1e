"""Reads of the kernel what stands on the way. Blocks: for the engine's thread."""

from collections.abc import Iterable, Mapping

from netdrivers.contract.specs import IPAddress, IPInterface
from netdrivers.errors import Missing
from netdrivers.explain.facts import Facts, Link, Neighbour, Route, Space, Untracked
from netdrivers.explain.trip import Trip
from netdrivers.kernel import codec, dnsredirect, ipcodec, lookup, refusals, untracked
from netdrivers.kernel.access import Access, Way
from netdrivers.kernel.listeners import read_listeners, read_tracking
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.sysctl import read_sysctl
from netdrivers.kernel.table import dump_elements

GLOBAL = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.icmp_echo_ignore_all",
)
OF_LINK = ("forwarding", "rp_filter")


def read_host_ips(access: Access) -> list[IPAddress]:
    """The addresses of the agent's namespace."""
    messages = access.host.route.dump(ipcodec.dump_addresses())
    return [ipcodec.parse_address(body).ip.ip for _, body in messages]


def read_facts(access: Access, trip: Trip) -> Facts:
    """Look at every namespace on the way.

    Raises:
        Missing: the source's namespace is not there.
    """
    spaces = {}
    for sandbox in trip.sandboxes:
        way = access.way(sandbox)
        if way is not None:
            to = trip.aim if sandbox and sandbox == trip.asked.source else trip.ip
            back = trip.back_ip if sandbox == trip.target and sandbox else trip.source_ip
            spaces[sandbox] = _read_space(access, way, to, back, _bridges(trip))
        elif sandbox == trip.asked.source:
            raise Missing(
                "the source has no network namespace: does it run?", source=trip.asked.source_name
            )
    return Facts(spaces=spaces, published=_read_published(access))


def _bridges(trip: Trip) -> frozenset[str]:
    return frozenset(end.bridge for end in (trip.near, trip.far) if end is not None)


def _read_space(
    access: Access, way: Way, to: IPAddress, back: IPAddress | None, bridges: frozenset[str]
) -> Space:
    found = [codec.parse_link(body) for _, body in way.route.dump(codec.dump_links())]
    links = {link.index: link for link in found}
    names = {index: link.name for index, link in links.items()}
    addresses = _read_addresses(way.route, names)
    with access.namespaces.inside(way.fd):
        sysctls = _read_sysctls(addresses)  # of a link without address nothing is asked
        listeners = read_listeners()
        tracked = read_tracking()
    ours = [link.index for link in links.values() if link.name in bridges]
    return Space(
        links={
            link.name: Link(
                up=link.up,
                mac=link.mac,
                mtu_bytes=link.mtu_bytes,
                master=names.get(link.master, ""),
                port_state=link.port_state,
            )
            for link in links.values()
        },
        addresses=addresses,
        to=_read_route(way.route, to, names),
        back=_read_route(way.route, back, names) if back is not None else Route(),
        neighbours=_read_neighbours(way.route, names),
        ports=_read_ports(way.route, ours, names),
        sysctls=sysctls,
        tracked=tracked,
        listeners=frozenset((each.protocol, each.ip, each.port) for each in listeners),
        has_redirect=bool(dnsredirect.read(way.filter)),
        untracked=tuple(map(_untracked, untracked.read_untracked(way.filter))),
    )


def _untracked(rule: untracked.Untracked) -> Untracked:
    chain = f"{rule.family} {rule.table} {rule.chain}"
    return Untracked(
        where=f"rule {rule.handle} of chain {rule.chain} in table {rule.family} {rule.table}",
        fix=f"nft delete rule {chain} handle {rule.handle}",
        protocol=rule.protocol,
        port=rule.port,
    )


def _read_sysctls(links: Iterable[str]) -> dict[str, str]:
    found = {name: read_sysctl(name) for name in GLOBAL}
    for link in links:
        for setting in OF_LINK:
            # a dot in a link's name is a slash in that of its settings, which read_sysctl refuses
            if "." not in link:
                name = f"net.ipv4.conf.{link}.{setting}"
                found[name] = read_sysctl(name)
    return {name: value for name, value in found.items() if value is not None}


def _read_addresses(
    netlink: Netlink, names: Mapping[int, str]
) -> dict[str, frozenset[IPInterface]]:
    found: dict[str, set[IPInterface]] = {}
    for _, body in netlink.dump(ipcodec.dump_addresses()):
        info = ipcodec.parse_address(body)
        found.setdefault(names.get(info.index, ""), set()).add(info.ip)
    return {link: frozenset(ips) for link, ips in found.items()}


def _read_route(netlink: Netlink, to: IPAddress, names: Mapping[int, str]) -> Route:
    (reply,) = netlink.ask([lookup.get_way(to)])
    refusal = refusals.read_refusal(netlink, to) if reply.errno else None
    if refusal is not None:
        return Route(error=f"{refusal.what} refuses it ({reply.text})", fix=refusal.fix)
    if reply.errno or not reply.messages:
        return Route(error=reply.text or "no answer")
    way = lookup.parse_way(reply.messages[0][1])
    return Route(
        link=names.get(way.index, ""),
        via=way.via,
        source=way.source,
        mtu_bytes=way.mtu_bytes,
        kind=way.kind,
    )


def _read_neighbours(
    netlink: Netlink, names: Mapping[int, str]
) -> dict[tuple[str, IPAddress], Neighbour]:
    return {
        (names.get(each.index, ""), each.ip): Neighbour(mac=each.mac, state=each.state)
        for version in (4, 6)
        for each in lookup.parse_all_neighbours(netlink.dump(lookup.dump_neighbours(version)))
    }


def _read_ports(
    netlink: Netlink, bridges: list[int], names: Mapping[int, str]
) -> dict[tuple[str, str], str]:
    return {
        (names[bridge], entry.mac): names.get(entry.index, "")
        for bridge in bridges
        for _, body in netlink.dump(lookup.dump_forwards(bridge))
        for entry in [lookup.parse_forward(body)]
        if entry.bridge == bridge
    }


def _read_published(access: Access) -> frozenset[tuple[str, str, int]]:
    found = set()
    for element in dump_elements(access):
        if element.set.startswith("publish"):
            *ip, protocol, port = element.match
            found.add((str(protocol), str(ip[0]) if ip else "", int(str(port))))
    return frozenset(found)
