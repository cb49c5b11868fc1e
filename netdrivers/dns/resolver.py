"""What becomes of a query: an answer of ours, a trip to an upstream, or a refusal. Pure.

Decisions where the peers differ:
- A name known here, asked for a type it has not: NOERROR without answers, never forwarded, so
  that no name of a container reaches a stranger's server.
- A name on several networks of the sandbox: the addresses of the preferred network come first
  (rotated among themselves), those of the others behind; a client that takes the first gets
  Docker's answer, one that asks for its own name sees all its addresses.
- An unknown name without an upstream: SERVFAIL, also for single labels (as Docker; NXDOMAIN would
  claim that the name exists nowhere, which we cannot know, and would be cached by clients).
- An unknown name under a network's name is forwarded too: a network may be called "com".
- Any class: known names are answered as IN (as Docker); else only IN is passed on.
- ANY: A and AAAA together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from netdrivers.contract import IPAddress
from netdrivers.dns.message import Malformed, Qtype, Query, Rcode, Resource, build_name
from netdrivers.dns.records import Records, parse_reverse

CLASS_IN: Final = 1
ANY_CLASS: Final = 255
# Transfers and their kin (249 TKEY … 254 MAILA) and OPT, which is no question.
REFUSED_TYPES: Final = frozenset({249, 250, 251, 252, 253, 254})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """NOERROR with these records; none = the name has no such type. ``first`` is rotated."""

    first: Sequence[Resource] = ()
    rest: Sequence[Resource] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A reply that is only a code."""

    rcode: Rcode


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Ask the view's upstreams."""

    query: Query


Verdict = Answer | Failure | Forward


def resolve(query: Query | Malformed, records: Records) -> Verdict:
    """Decide about one query."""
    if (rcode := _fault(query)) is not None:
        return Failure(rcode=rcode)
    if isinstance(query, Malformed):
        return Failure(rcode=query.rcode)
    return _find_address(query, records) or _find_pointer(query, records) or _beyond(query, records)


def _fault(query: Query | Malformed) -> Rcode | None:
    if isinstance(query, Malformed):
        return query.rcode
    if query.edns and query.edns.version:
        return Rcode.BADVERS
    if query.qtype == Qtype.OPT:
        return Rcode.FORMERR
    return Rcode.REFUSED if query.qtype in REFUSED_TYPES else None


def _find_address(query: Query, records: Records) -> Answer | None:
    groups = records.find(query.name)
    if groups is None:
        return None
    seen: set[Resource] = set()
    chosen = [list(_pick(query.qtype, group, seen)) for group in groups]
    first = next((each for each in chosen if each), [])
    rest = [each for group in chosen if group is not first for each in group]
    return Answer(first=first, rest=rest)


def _pick(qtype: int, group: Iterable[IPAddress], seen: set[Resource]) -> Iterable[Resource]:
    """Records of the asked type, each address once."""
    for address in group:
        rtype = Qtype.A if address.version == 4 else Qtype.AAAA
        resource = Resource(rtype=rtype, data=address.packed)
        if qtype in {rtype, Qtype.ANY} and resource not in seen:
            seen.add(resource)
            yield resource


def _find_pointer(query: Query, records: Records) -> Answer | Failure | None:
    address = parse_reverse(query.name)
    name = records.find_reverse(address) if address else None
    if name is None:
        return None
    if query.qtype not in {Qtype.PTR, Qtype.ANY}:
        return Answer()
    target = build_name(name)
    if target is None:
        return Failure(rcode=Rcode.SERVFAIL)
    return Answer(first=[Resource(rtype=Qtype.PTR, data=target)])


def _beyond(query: Query, records: Records) -> Verdict:
    if query.qclass not in {CLASS_IN, ANY_CLASS}:
        return Failure(rcode=Rcode.REFUSED)
    if not records.view.upstreams:
        return Failure(rcode=Rcode.SERVFAIL)
    return Forward(query=query)
