"""Hops on the target's side: its own namespace, its listener, the way back, sizes. Pure."""

from collections.abc import Iterator
from typing import Final

from netdrivers.contract.explain import Hop
from netdrivers.contract.specs import IPAddress
from netdrivers.explain.facts import Facts, Space
from netdrivers.explain.middle import came_in, reverse_path
from netdrivers.explain.near import REPAIR, interface, tracked
from netdrivers.explain.station import Mark, Station, judged
from netdrivers.explain.trip import OUTSIDE, End, Trip

SHOWN: Final = 5  # other ports named when the wanted one has no listener
IGNORES: Final = "net.ipv4.icmp_echo_ignore_all"


def own(trip: Trip, facts: Facts, answered: frozenset[Mark]) -> Iterator[Station]:
    """Interface, reverse path, rules and listener where the address is."""
    if trip.target is None:
        return
    where, space = trip.title(trip.target), facts.spaces.get(trip.target)
    if space is None:
        gone = Hop(place="interface", where=where, what="its namespace")
        yield Station(hop=judged(gone, "namespace is gone: does the container run?"))
        return
    if trip.target and trip.far is not None and not trip.is_local:
        yield from _inside(trip, trip.far, space, answered)
    yield Station(hop=_listener(trip, space, where), past=trip.accepted, firm=True)


def _inside(trip: Trip, far: End, space: Space, answered: frozenset[Mark]) -> Iterator[Station]:
    where, link = trip.title(trip.target), far.spec.interface
    yield Station(hop=interface(far, space, where), past=answered)
    yield Station(hop=tracked(space, where), past=answered)
    if trip.back_ip is not None:
        yield Station(hop=reverse_path(trip, space, link, where), past=answered)
    rules = Hop(place="rules", where=where, what="nft")
    yield Station(hop=rules, past=answered, ruled=trip.target)


def _listener(trip: Trip, space: Space, where: str) -> Hop:
    protocol, port = trip.asked.protocol, trip.port
    if protocol == "icmp":
        hop = Hop(place="listener", where=where, what="echo requests")
        ignores = trip.version == 4 and space.setting(IGNORES) == 1
        return judged(hop, f"{IGNORES} = 1" if ignores else "", f"set {IGNORES} to 0")
    hop = Hop(place="listener", where=where, what=f"{port}/{protocol}")
    mine = [each for each in space.listeners if each[0] == protocol]
    here = [ip for _, ip, number in mine if number == port]
    if any(_takes(ip, trip.ip) for ip in here):
        return hop
    if here:
        why = f"no listener on {trip.ip}: the program listens on {' '.join(map(str, here))} only"
        return judged(hop, why, "let the program listen on 0.0.0.0 or ::")
    others = sorted({number for _, ip, number in mine if not ip.is_loopback})[:SHOWN]
    there_is = f" (there is: {' '.join(f'{each}/{protocol}' for each in others)})"
    why = f"no listener on {port}/{protocol}{there_is if others else ''}"
    return judged(hop, why, "start the program, or ask for its port")


def _takes(listening: IPAddress, ip: IPAddress) -> bool:
    if listening.is_unspecified:
        return listening.version in {ip.version, 6}
    return ip in {listening, getattr(listening, "ipv4_mapped", None)}


def way_back(trip: Trip, facts: Facts) -> Iterator[Station]:
    """Whether an answer finds its way."""
    space = facts.spaces.get(trip.target or "")
    if trip.target is None:
        hop = Hop(place="beyond", where=OUTSIDE, what=f"answer of {trip.ip}")
        yield Station(hop=hop, past=trip.home)
    if not trip.target or trip.far is None or trip.is_local or space is None:
        return
    where = trip.title(trip.target)
    if trip.back_ip is None:
        yield Station(hop=Hop(place="way back", where=where, what="of the answer"), past=trip.home)
        return
    way, link = space.back, trip.far.spec.interface
    if way.error:
        why = f"no route back: {way.error}"
    else:
        why = "" if way.link == link else f"route back goes by {way.link}, not by {link}"
    hop = Hop(place="way back", where=where, what=f"to {trip.back_ip}")
    yield Station(hop=judged(hop, why, way.fix or REPAIR), past=trip.home)


def big_bytes(trip: Trip, facts: Facts) -> int:
    """The largest packet the source sends; 0 where that is no question."""
    source = facts.spaces.get(trip.asked.source or "")
    if source is None or trip.asked.source is None or trip.is_local:
        return 0
    first = source.links.get(source.to.link)
    return source.to.mtu_bytes or (first.mtu_bytes if first else 0)


def narrow(trip: Trip, facts: Facts) -> str:
    """Links on the way that take less than the source sends, in words."""
    size = big_bytes(trip, facts)
    return ", ".join(f"{link} (MTU {mtu})" for link, mtu in _links(trip, facts) if mtu < size)


def _links(trip: Trip, facts: Facts) -> Iterator[tuple[str, int]]:
    host = facts.spaces.get("", Space())
    near, far = trip.near, trip.far
    names = [near.veth if near else "", far.veth if far else ""]
    if trip.by_host:
        names[1:1] = [came_in(trip, host), host.to.link]
    for name in dict.fromkeys(names):
        link = host.links.get(name)
        if link is not None:
            yield name, link.mtu_bytes
    if far is not None and trip.target:
        inner = facts.spaces.get(trip.target, Space()).links.get(far.spec.interface)
        if inner is not None:
            yield f"{far.spec.interface} in {trip.title(trip.target)}", inner.mtu_bytes
