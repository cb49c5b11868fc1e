"""Hops on the source's side: names, its own namespace, its pair and its bridge. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from netdrivers.contract.explain import Hop
from netdrivers.contract.specs import IPAddress
from netdrivers.explain.facts import FORWARDING, Facts, Space
from netdrivers.explain.station import Mark, Station, judged
from netdrivers.explain.trip import HOST, OUTSIDE, End, Trip

REDIRECT: Final = "table ip nodeagent-dns"
REPAIR: Final = "nodeagent network repair"
PORT_STATES: Final = {0: "disabled", 1: "listening", 2: "learning", 4: "blocking"}
DEAD: Final = frozenset({"failed", "incomplete"})


def names(trip: Trip, facts: Facts) -> Iterator[Station]:
    """Would the source be told the address, and does its name server answer?"""
    asked, heard = trip.asked, facts.heard
    if not asked.name:
        return
    told = " ".join(map(str, asked.addresses))
    record = Hop(place="name", where=trip.source_title, what=f"{asked.name} is {told}")
    fix = "connect both to one network of your own"
    yield Station(hop=judged(record, asked.no_name, fix), firm=True)
    if heard is None or not asked.source:
        return
    server = Hop(place="dns", where=trip.source_title, what="127.0.0.11")
    space = facts.spaces.get(asked.source)
    if heard.error and space is not None and not space.has_redirect:
        why = f"{REDIRECT}, which leads port 53 to the agent, is gone: {heard.error}"
        server = judged(server, why, REPAIR)
    elif heard.error and not asked.no_name:
        why = f"the name server is dead for it: {heard.error}"
        server = judged(server, why, "look for rules in the container that stop port 53")
    yield Station(hop=server, firm=True)


def own(trip: Trip, facts: Facts) -> Iterator[Station]:
    """Interface, route, rules and neighbour in the source's sandbox."""
    source, near, where = trip.asked.source, trip.near, trip.source_title
    if not source:
        return
    space = facts.spaces[source]
    link = "lo" if trip.is_local else near.spec.interface if near else ""
    left = frozenset({(source, link, True)})
    if near is None and not trip.is_local:
        alone = Hop(place="interface", where=where, what="none but the loopback")
        why = "it is on no network"
        yield Station(hop=judged(alone, why, "nodeagent network connect"), past=left)
        return
    if near is not None and not trip.is_local:
        yield Station(hop=interface(near, space, where), past=left)
    yield Station(hop=_route(trip, space), past=left)
    yield Station(hop=tracked(space, where), past=left)
    yield Station(hop=Hop(place="rules", where=where, what="nft"), past=left, ruled=source)
    if not trip.is_local and near is not None:
        yield Station(hop=_neighbour(trip, facts, near), past=arrived(trip), firm=True)


def interface(end: End, space: Space, where: str) -> Hop:
    """The endpoint's link inside its sandbox, and the addresses on it."""
    link = space.links.get(end.spec.interface)
    have = space.addresses.get(end.spec.interface, frozenset())
    gone = " ".join(str(ip) for ip in end.spec.addresses if ip not in have)
    if link is None:
        why = "link is gone"
    elif not link.up:
        why = "link is down"
    else:
        why = f"address {gone} is gone" if gone else ""
    return judged(Hop(place="interface", where=where, what=end.spec.interface), why, REPAIR)


def _route(trip: Trip, space: Space) -> Hop:
    way, near = space.to, trip.near
    hop = Hop(place="route", where=trip.source_title, what=f"to {trip.aim}")
    if way.error and not way.fix and near is not None and near.net.internal:
        fix = "the network is internal on purpose; connect both to one network"
        return judged(hop, f"no route: {way.error}: network {near.net.name} is internal", fix)
    if way.error:
        return judged(hop, f"no route: {way.error}", way.fix or REPAIR)
    expected = "lo" if trip.is_local else near.spec.interface if near else way.link
    if way.link != expected:
        why = f"route goes by {way.link}, not by {expected}"
        return judged(hop, why, f"ip route get {trip.aim}")
    via = f" via {way.via}" if way.via else ""
    return replace(hop, what=f"{hop.what} by {way.link}{via}")


def tracked(space: Space, where: str) -> Hop:
    """Room for one more tracked connection."""
    count, most = space.tracked
    hop = Hop(place="conntrack", where=where, what=f"{count} of {most} connections")
    why = f"conntrack is full: {count} of {most}" if most and count >= most else ""
    return judged(hop, why, "raise net.netfilter.nf_conntrack_max")


def _neighbour(trip: Trip, facts: Facts, near: End) -> Hop:
    """Who the source takes the next hop to be, against who that is."""
    space = facts.spaces[near.spec.sandbox_id]
    ip = space.to.via or trip.aim
    hop = Hop(place="neighbour", where=trip.source_title, what=str(ip))
    return _check_neighbour(hop, space, space.to.link, ip, _mac_of(trip, facts, ip))


def host_neighbour(trip: Trip, facts: Facts, far: End) -> Hop:
    """Who the host takes the target to be."""
    hop = Hop(place="neighbour", where=HOST, what=str(trip.ip))
    return _check_neighbour(hop, facts.spaces[""], far.bridge, trip.ip, far.spec.mac.lower())


def _check_neighbour(hop: Hop, space: Space, link: str, ip: IPAddress, mac: str) -> Hop:
    known = space.neighbours.get((link, ip))
    if known is None:
        return hop
    if known.state in DEAD or not known.mac:
        return replace(hop, state="suspect", why=f"nobody answers for {ip} on {link}")
    if mac and known.mac != mac:
        why = f"wrong MAC entry: {known.mac} ({known.state}), but {ip} is at {mac}"
        return judged(hop, why, f"ip neigh del {ip} dev {link}")
    return replace(hop, what=f"{ip} is {known.mac}")


def _mac_of(trip: Trip, facts: Facts, ip: IPAddress) -> str:
    """The MAC that an address of ours has; "" for a stranger's."""
    near, far = trip.near, trip.far
    if far is not None and far.ip(ip.version) == ip:
        return far.spec.mac.lower()
    link = facts.spaces[""].links.get(near.bridge) if near is not None else None
    return link.mac if link is not None and near and ip == near.gateway(ip.version) else ""


def arrived(trip: Trip) -> frozenset[Mark]:
    """Where a packet is seen once the bridge has handed it on to the right one.

    A frame for a MAC that nobody has is seen at every port, so those prove nothing.
    """
    if not trip.by_host or trip.near is None:
        return trip.there | trip.home
    return frozenset({("", trip.near.bridge, False), *trip.there, *trip.home})


def pair(end: End, facts: Facts, past: frozenset[Mark]) -> Station:
    """The host's end of a pair: there, up, on its bridge, and let through by it."""
    links, fix = facts.spaces[""].links, REPAIR
    link, bridge_link = links.get(end.veth), links.get(end.bridge)
    if link is None or not link.up:
        why = "link is gone" if link is None else "link is down"
    elif link.master != end.bridge:
        where = f"but on {link.master}" if link.master else "nor on any other"
        why = f"link is not on bridge {end.bridge}, {where}"
    elif link.port_state != FORWARDING and bridge_link is not None and bridge_link.up:
        does = PORT_STATES.get(link.port_state, "not forwarding")
        why = f"port {end.veth} is {does} (state {link.port_state})"
        fix = f"bridge link set dev {end.veth} state {FORWARDING}, or {REPAIR}"
    else:
        why = ""
    hop = Hop(place="veth", where=HOST, what=f"{end.veth} to {end.spec.interface}")
    return Station(hop=judged(hop, why, fix), past=past)


def parent(end: End, facts: Facts, past: frozenset[Mark]) -> Station:
    """The link of the operator's that a macvlan is on."""
    link = facts.spaces[""].links.get(end.parent)
    why = "link is gone" if link is None else "" if link.up else "link is down"
    hop = Hop(place="parent", where=HOST, what=f"{end.parent} of network {end.net.name}")
    return Station(hop=judged(hop, why, f"ip link set {end.parent} up"), past=past)


def wire(end: End) -> Station:
    """What lies between an outsider and a macvlan, so that nobody looks for a rule to change."""
    what = f"{end.parent} of network {end.net.name}, past this host's rules and published ports"
    return Station(hop=Hop(place="wire", where=OUTSIDE, what=what))


def bridge(end: End, facts: Facts, past: frozenset[Mark], *, to: End | None) -> Station:
    """The bridge, and that it has the MAC of ``to`` behind the right port; the gateway without."""
    host = facts.spaces[""]
    link = host.links.get(end.bridge)
    fix = REPAIR
    if link is None or not link.up:
        why = "link is gone" if link is None else "link is down"
    elif to is None:
        why = _gateway(end, host)
    else:
        mac = to.spec.mac.lower()
        port = host.ports.get((end.bridge, mac), to.veth)
        wrong = f"wrong MAC entry: {mac} is behind {port}, not behind {to.veth}"
        why, fix = "" if port == to.veth else wrong, f"bridge fdb del {mac} dev {port} master"
    hop = Hop(place="bridge", where=HOST, what=f"{end.bridge} of network {end.net.name}")
    return Station(hop=judged(hop, why, fix), past=past, firm=True)


def _gateway(end: End, host: Space) -> str:
    have = {ip.ip for ip in host.addresses.get(end.bridge, frozenset())}
    wanted = [each.gateway for each in end.net.subnets if each.host is None]
    gone = " ".join(str(ip) for ip in wanted if ip not in have)
    return f"address {gone} is gone" if gone else ""
