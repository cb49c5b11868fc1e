"""From facts to an answer: the hops in order, and the first that a packet does not get past. Pure.

What was read says what is wrong; the probe has the last word. A hop that a packet was seen to get
past is no reason, whatever was read a moment ago (a repair may have mended it); a hop behind the
last sighting is where it died, whether or not anything read says why.
"""

from collections.abc import Sequence
from dataclasses import replace

from netdrivers.contract.explain import Explanation, Hop
from netdrivers.explain import far, middle, near
from netdrivers.explain.errand import Tidings
from netdrivers.explain.facts import Facts
from netdrivers.explain.fate import answer_of, apply_tidings, dropped
from netdrivers.explain.station import Mark, Station, judged
from netdrivers.explain.trip import HOST, Trip

WORSE = {"ok": 0, "suspect": 1, "fails": 2}
ONE_MTU = "set one MTU on the whole way"


def judge(trip: Trip, *looks: Facts) -> Explanation:
    """Judge by several looks at the same things, the one with the probe's tidings last.

    What failed in any of them counts: something may be broken and mended again all the time.
    """
    tidings = looks[-1].tidings
    stations = _worst([_stations(trip, facts) for facts in looks])
    answer = ""
    if tidings is not None:
        stations = apply_tidings(stations, tidings)
        answer = answer_of(trip, tidings)
    hops = [station.hop for station in stations]
    if tidings is None or answer:
        hops += _size(trip, looks[-1], tidings)
    return _conclude(trip, hops, tidings, answer)


def _stations(trip: Trip, facts: Facts) -> list[Station]:
    answered = _answered(trip)
    found = [*near.names(trip, facts), *near.own(trip, facts)]
    if trip.near is not None and trip.near.parent:
        found.append(near.parent(trip.near, facts, trip.home))
    if trip.is_from_wire and trip.far is not None:
        found += [near.wire(trip.far), near.parent(trip.far, facts, trip.there | trip.home)]
    if trip.near is not None and trip.near.bridge and not trip.is_local:
        over = near.arrived(trip)
        here = frozenset({("", trip.near.veth, False)})
        found.append(near.pair(trip.near, facts, here | over))
        to = trip.far if trip.is_direct else None
        found.append(near.bridge(trip.near, facts, over, to=to))
        if trip.is_direct:  # bridged, but hooks of the bridge and, with br_netfilter, of inet pass
            host = near.tracked(facts.spaces[""], HOST)
            found.append(Station(hop=host, past=over))
            apart = middle.neighbours_apart(trip)
            told = None if apart.state == "ok" else ""
            found.append(Station(hop=apart, past=over, ruled=told))
            rules = Hop(place="rules", where=HOST, what="nft")
            found.append(Station(hop=rules, past=over, ruled=""))
    if trip.by_host:
        found += middle.host(trip, facts)
    if trip.far is not None and trip.far.bridge and not trip.is_local:
        if trip.by_host:
            found.append(near.bridge(trip.far, facts, trip.there | trip.home, to=trip.far))
        found.append(near.pair(trip.far, facts, trip.there))
    found += far.own(trip, facts, answered)
    found += far.way_back(trip, facts)
    return found


def _answered(trip: Trip) -> frozenset[Mark]:
    """Where it shows that the target took it: an answer there, or a datagram at its very end."""
    link = trip.far.spec.interface if trip.far is not None and not trip.is_local else "lo"
    return frozenset({("reply", f"{trip.target}:{link}", True), ("taken", f"{trip.target}", False)})


def _worst(looks: Sequence[list[Station]]) -> list[Station]:
    """Of each hop the look at which it failed; looks differ where something was gone."""
    longest = max(looks, key=len)
    found: dict[tuple[str, str, str], Hop] = {}
    for station in (station for look in looks for station in look):
        known = found.get(station.key)
        if known is None or WORSE[station.hop.state] >= WORSE[known.state]:
            found[station.key] = station.hop
    return [station.but(found[station.key]) for station in longest]


def _size(trip: Trip, facts: Facts, tidings: Tidings | None) -> list[Hop]:
    """Whether packets of full size get through, too."""
    size, narrow = far.big_bytes(trip, facts), far.narrow(trip, facts)
    if not size:
        return []
    hop = Hop(place="mtu", where=trip.source_title, what=f"{size} bytes")
    why = f"MTU black hole: packets of {size} bytes do not fit {narrow}" if narrow else ""
    if tidings is None:
        return [judged(hop, why, ONE_MTU)]
    big = [seen for seen in tidings.seen if seen.big]
    taken = [seen for seen in big if seen.what == "reply" and not seen.outgoing]
    errors = [seen.text for seen in big if seen.what == "error"]
    if any(seen.space == trip.asked.source or not seen.link for seen in taken):
        return [hop]
    if errors:  # the sender is told, and sends smaller ones
        return [replace(hop, what=f"{hop.what}: {errors[0]}")]
    rules = [each for each in tidings.ruled if each.big]
    if rules:
        return [dropped(hop, rules[0])]
    last = (
        f"MTU black hole: the probe of {size} bytes was last seen at {big[-1].link}" if big else ""
    )
    return [judged(hop, why or last, ONE_MTU)]


def _conclude(trip: Trip, hops: list[Hop], tidings: Tidings | None, answer: str) -> Explanation:
    asked = trip.asked
    port = f" port {asked.port}/{asked.protocol}" if asked.port else ""
    way = f"{asked.source_name} to {asked.target_name}{port}"
    notes = tuple(tidings.notes) if tidings is not None else ()
    worst = max(hops, key=lambda hop: WORSE[hop.state], default=None)  # the first of the worst
    reachable: bool | None
    if worst is not None and worst.place == "tracking" and tidings is None:
        reachable = None  # whether the rule's other conditions fit is not known
        words = f"not tried, but suspect: {worst.place} of {worst.where}: {worst.why}"
    elif worst is not None and worst.state != "ok":
        reachable = False
        words = f"not reachable: {worst.place} of {worst.where} ({worst.what}): {worst.why}"
    elif tidings is None:
        reachable, words = None, "nothing found in the way, but not tried"
    else:
        reachable = bool(answer)
        words = f"reachable ({answer})" if answer else "no answer, and nothing seen that stops it"
    return Explanation(
        reachable=reachable, summary=f"{way}: {words}", hops=tuple(hops), notes=notes
    )
