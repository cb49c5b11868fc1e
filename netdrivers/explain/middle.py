"""Hops in the agent's own namespace: published ports, forwarding, routes, rules. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from netdrivers.bridge import BOOL, ICC, gateway_mode
from netdrivers.contract.explain import Hop
from netdrivers.explain.facts import Facts, Space
from netdrivers.explain.near import REPAIR, host_neighbour, tracked
from netdrivers.explain.station import Mark, Station, judged
from netdrivers.explain.trip import HOST, Trip

OFF: Final = 0
STRICT, LOOSE = 1, 2  # of rp_filter


def host(trip: Trip, facts: Facts) -> Iterator[Station]:
    """Everything between the link a packet comes in by and the one it leaves by."""
    space = facts.spaces[""]
    past = beyond(trip, facts)
    here = trip.target == "" and trip.published is None
    yield Station(hop=tracked(space, HOST), past=past)
    yield from (Station(hop=hop, past=past) for hop in _untracked(trip, space))
    if trip.published is not None or (here and trip.asked.protocol != "icmp"):
        yield Station(hop=_publish(trip, facts, space), past=past)
    if trip.asked.source != "" and not here:
        yield Station(hop=_forwarding(trip, space), past=past)
    if trip.asked.source != "":
        yield Station(hop=reverse_path(trip, space, came_in(trip, space), HOST), past=past)
    if not here:
        yield Station(hop=_route(trip, space), past=past)
        apart = _apart(trip)
        yield Station(hop=apart, past=past, ruled=None if apart.state == "ok" else "")
    yield Station(hop=Hop(place="rules", where=HOST, what="nft"), past=past, ruled="")
    if trip.far is not None and trip.far.bridge:
        hop = host_neighbour(trip, facts, trip.far)
        yield Station(hop=hop, past=trip.there | trip.home, firm=True)


def _untracked(trip: Trip, space: Space) -> Iterator[Hop]:
    """Rules by which a published port's packet may go untranslated."""
    ports = {0, trip.asked.port, trip.port}
    for rule in space.untracked if trip.published is not None else ():
        if rule.protocol in {"", trip.asked.protocol} and rule.port in ports:
            why = f"notrack by {rule.where} may keep the port from being translated"
            hop = Hop(place="tracking", where=HOST, what=rule.where)
            yield replace(hop, state="suspect", why=why, fix=rule.fix)


def beyond(trip: Trip, facts: Facts) -> frozenset[Mark]:
    """Where a packet is seen once the host has sent it on."""
    if trip.far is not None and trip.far.bridge:
        return frozenset({("", trip.far.veth, True), ("", trip.far.bridge, True)})
    out = facts.spaces[""].to.link
    return frozenset({("", out, True)} if out and trip.target is None else ())


def _publish(trip: Trip, facts: Facts, space: Space) -> Hop:
    asked, port = trip.asked, trip.published
    hop = Hop(place="publish", where=HOST, what=f"{trip.aim} port {asked.port}/{asked.protocol}")
    if port is not None:
        ips = {str(port.host_ip), ""} if port.host_ip.is_unspecified else {str(port.host_ip)}
        keys = {(port.protocol, ip, port.host_port) for ip in ips}
        why = "" if keys & facts.published else "its element is gone from our nft table"
        leads = replace(hop, what=f"{hop.what} leads to {trip.ip} port {trip.port}")
        return judged(leads, why, REPAIR)
    if any(found[0] == asked.protocol and found[2] == asked.port for found in space.listeners):
        return replace(hop, what=f"{hop.what} is a program's of this host")
    why = "port not published by any container, and no program of this host listens on it"
    return judged(hop, why, f"nodeagent run -p {asked.port}:PORT")


def _forwarding(trip: Trip, space: Space) -> Hop:
    """Whether the kernel passes on what comes in, at all and by that link."""
    if trip.version == 6:
        wanted = ["net.ipv6.conf.all.forwarding"]
    else:
        wanted = ["net.ipv4.ip_forward", f"net.ipv4.conf.{came_in(trip, space)}.forwarding"]
    off = [name for name in wanted if space.setting(name) == OFF]
    why = f"forwarding is off: {off[0]} = 0" if off else ""
    return judged(Hop(place="forwarding", where=HOST, what=f"IPv{trip.version}"), why, REPAIR)


def came_in(trip: Trip, space: Space) -> str:
    """The host's link that a packet comes in by."""
    return trip.near.bridge if trip.near else space.back.link


def reverse_path(trip: Trip, space: Space, link: str, where: str) -> Hop:
    """Whether rp_filter takes the source for a forgery: the way back must be the way it came."""
    names = [f"net.ipv4.conf.{each}.rp_filter" for each in ("all", link)]
    level, name = max((space.setting(each), each) for each in names)
    source = trip.back_ip if where != HOST else trip.source_ip
    hop = Hop(place="rp_filter", where=where, what=f"{source} by {link}")
    back = space.back
    why = ""
    if trip.version == 4 and level == STRICT and back.link != link:
        way = f"goes by {back.link}" if back.link else f"is not there ({back.error})"
        why = f"{name} = 1 drops it: the way back to {source} {way}, not by {link}"
    elif trip.version == 4 and level == LOOSE and back.error:
        why = f"{name} = 2 drops it: no way back to {source} ({back.error})"
    return judged(hop, why, f"set {name} to 0, or mend the route")


def _route(trip: Trip, space: Space) -> Hop:
    way, far = space.to, trip.far
    hop = Hop(place="route", where=HOST, what=f"to {trip.ip}")
    if way.error:
        return judged(hop, f"no route: {way.error}", way.fix or "ip route")
    if far is not None and far.bridge and way.link != far.bridge:
        why = f"route goes by {way.link}, not by {far.bridge}"
        return judged(hop, why, f"ip route get {trip.ip}")
    via = f" via {way.via}" if way.via else ""
    return replace(hop, what=f"{hop.what} by {way.link}{via}")


def _is_open(trip: Trip) -> bool:
    """Whether the target's network lets others reach it at its own address."""
    far = trip.far
    mode = gateway_mode(far.net, trip.version) if far is not None and far.bridge else ""
    published = far is not None and any(
        (port.protocol, port.container_ip, port.container_port)
        == (trip.asked.protocol, trip.ip, trip.port)
        for port in far.spec.ports
    )
    told = published or trip.asked.protocol == "icmp"
    return mode == "nat-unprotected" or (mode == "routed" and told)


def neighbours_apart(trip: Trip) -> Hop:
    """Whether the network keeps its own containers from each other."""
    net = trip.near.net if trip.near is not None else None
    hop = Hop(place="isolation", where=HOST, what="of containers")
    off = net is not None and BOOL.get(net.options.get(ICC, "true")) is False
    why = f"containers of network {net.name} are kept apart: {ICC} is false" if off and net else ""
    return judged(hop, why, "publish the port, or use another network")


def _apart(trip: Trip) -> Hop:
    """What our own table is there to stop."""
    near, far = trip.near, trip.far
    hop = Hop(place="isolation", where=HOST, what="of networks")
    if trip.asked.source == "":
        return hop
    for end in (near, far):
        if end is not None and end.net.internal:
            why = f"network {end.net.name} is internal: nothing is routed into it or out of it"
            return judged(hop, why, "connect both to one network")
    if far is None or trip.published is not None:
        return hop
    if _is_open(trip):
        return hop
    if near is not None:
        why = f"networks {near.net.name} and {far.net.name} are kept apart"
        return judged(hop, why, "connect both to one network, or publish the port")
    why = f"port not published: nothing from outside is let in to network {far.net.name}"
    return judged(hop, why, "publish the port (nodeagent run -p)")
