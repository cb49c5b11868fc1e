"""What a probe's sightings say of the hops: passed, dropped by that rule, or lost here. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from netdrivers.contract.explain import Hop
from netdrivers.explain.errand import Ruled, Seen, Tidings
from netdrivers.explain.station import Mark, Station, judged
from netdrivers.explain.trip import Trip

MENDED: Final = "it looked broken ({}), but the probe got past it"
REFUSED: Final = "connection refused"
LOST: Final = "no nft rule did it; a tc filter, eBPF or iptables-legacy rule leaves no trace"
BACK: Final = frozenset({"way back", "beyond"})
# what a rule of ours is there for, by a piece of its text
MEANT: Final = {
    "@internal": ("the network is internal", "connect both to one network"),
    "oifname @bridges drop": (
        "networks are kept apart",
        "connect both to one network, or publish the port",
    ),
    "@same drop": (
        "containers of the network are kept apart",
        "publish the port, or use another network",
    ),
    "@guarded": ("forwarding is on for containers only", "add a rule to chain operator-before"),
    "127.0.0.0/8": ("no other host may use a loopback address", ""),
}


def apply_tidings(stations: Sequence[Station], tidings: Tidings) -> list[Station]:
    """The stations with what the probe showed."""
    small = [seen for seen in tidings.seen if not seen.big]
    marks = {mark for seen in small for mark in _marks(seen)}
    last = max((n for n, each in enumerate(stations) if each.past & marks), default=-1)
    told = [_mend(each, marks) if n <= last else each for n, each in enumerate(stations)]
    told = _drops(told, [each for each in tidings.ruled if not each.big], last)
    told = _turned_away(told, small)
    if last + 1 == len(told) or any(each.hop.state == "fails" for each in told[last + 1 :]):
        return told
    doubtful = next((n for n in range(last + 1) if stations[n].hop.state == "fails"), None)
    if doubtful is not None:  # passed this time, but nothing else explains that no answer came
        told[doubtful] = stations[doubtful]
        return told
    return _lost(told, last, small, tidings.refused)


def _marks(seen: Seen) -> list[Mark]:
    if seen.what == "error" or (seen.missed and seen.space):
        return []  # a frame for another MAC has come to the wrong one
    if seen.what == "probe":
        return [(seen.space, seen.link, seen.outgoing)]
    if not seen.link:
        return [("taken", seen.space, False)]
    marks: list[Mark] = [("reply", f"{seen.space}:{seen.link}", seen.outgoing)]
    if not seen.outgoing and seen.text != REFUSED:  # a refusal may be anybody's on the way
        marks.append(("reply", f"{seen.space}:", False))
    return marks


def _mend(station: Station, marks: set[Mark]) -> Station:
    hop = station.hop
    if hop.state == "ok" or (station.firm and not station.past & marks):
        return station
    return station.but(replace(hop, state="ok", why=MENDED.format(hop.why), fix=""))


def _drops(stations: list[Station], ruled: Sequence[Ruled], last: int) -> list[Station]:
    """Put each drop to the hop it happened at; one of the answer to the way back."""
    told = list(stations)
    for each in ruled:
        at = _where(told, each, last)
        if at is None:
            where = f"of sandbox {each.space[:12]}" if each.space else "this host"
            hop = Hop(place="rules", where=where, what="nft")
            told.append(Station(hop=dropped(hop, each)))
        else:
            told[at] = told[at].but(dropped(told[at].hop, each))
    return told


def _where(stations: Sequence[Station], ruled: Ruled, last: int) -> int | None:
    back = ruled.what != "probe"
    for n, station in enumerate(stations):
        if back and station.hop.place in BACK:
            return n
        if not back and n > last and station.ruled == ruled.space:
            return n
    return None


def dropped(hop: Hop, ruled: Ruled) -> Hop:
    """The hop that fails by that rule."""
    who = "a rule that is not ours"
    words, fix = "", f"nft -a list chain {ruled.family} {ruled.table} {ruled.chain}"
    if ruled.table.startswith("nodeagent"):
        who = "the operator's rule" if ruled.chain.startswith("operator-") else "our rule"
        words, fix = next((MEANT[key] for key in MEANT if key in ruled.rule), ("", fix))
    what = "the answer" if ruled.what != "probe" else "it"
    why = f"{who} drops {what}: {ruled}" + (f" ({words})" if words else "")
    return judged(hop, f"{hop.why}; {why}" if hop.state == "fails" else why, hop.fix or fix)


def _turned_away(stations: list[Station], seen: Iterable[Seen]) -> list[Station]:
    """A connection that was refused has no listener, whatever /proc says."""
    if not any(each.what == "reply" and each.text == REFUSED for each in seen):
        return stations
    return [
        each.but(judged(each.hop, REFUSED, "look at what the program does"))
        if each.hop.place == "listener" and each.hop.state == "ok"
        else each
        for each in stations
    ]


def _lost(stations: list[Station], last: int, seen: list[Seen], refused: str) -> list[Station]:
    """If nothing says why it got no further than that hop, say at least where it was seen last."""
    suspects = [n for n, each in enumerate(stations) if each.hop.state == "suspect"]
    at = suspects[0] if suspects else _filter_after(stations, last)
    hop = stations[at].hop
    reasons = [hop.why, *(each.text for each in seen if each.what == "error")]
    if refused:
        reasons.append(f"the kernel would not send it: {refused}")
    probes = [each for each in seen if each.what == "probe"]
    if not any(reasons):
        link = probes[-1].link if probes else ""
        reasons.append(f"the probe was last seen at {link}" if link else "the probe went nowhere")
    why = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    told = list(stations)
    told[at] = told[at].but(judged(hop, why, hop.fix or LOST))
    return told


def _filter_after(stations: Sequence[Station], last: int) -> int:
    """The rules of the namespace it was lost in: what is not seen there is most likely a filter."""
    where = stations[last + 1].hop.where
    rest = range(last + 1, len(stations))
    same = (n for n in rest if (stations[n].hop.place, stations[n].hop.where) == ("rules", where))
    return next(same, last + 1)


def answer_of(trip: Trip, tidings: Tidings) -> str:
    """What came back, or that it came to its end where nobody must answer; "" for neither."""
    for seen in tidings.seen:
        at_home = seen.space == trip.asked.source or not seen.link
        if seen.what == "reply" and not seen.outgoing and not seen.big and at_home:
            return "" if seen.text == REFUSED else seen.text
    return ""
