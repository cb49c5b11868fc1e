"""What becomes of a query: an answer of ours, a trip to an upstream, or a refusal. Pure.

Decisions where the peers differ:
- A name known here, asked for a type it has not: NOERROR without answers, never forwarded, so
  that no name of a container reaches a stranger's server.
- A name of which no endpoint is ready, or whose container does not run: SERVFAIL with the reason
  (RFC 8914, "Not Ready"). An empty answer would be believed and kept; a failure is asked again.
  Pointers of those that run stay.
- A name on several networks of the sandbox: the addresses of the preferred network come first
  (rotated among themselves), those of the others behind; a client that takes the first gets
  Docker's answer, one that asks for its own name sees all its addresses.
- ``_port._proto.name`` (SRV, RFC 2782) below a known name is never forwarded either: NXDOMAIN if
  there is no such port.
- ``localhost``, all below it, and the pointers of its two addresses: answered here (RFC 6761).
- An unknown name without an upstream: SERVFAIL, also for single labels (as Docker; NXDOMAIN would
  claim that the name exists nowhere, which we cannot know, and would be cached by clients).
- An unknown name under a network's name is forwarded too: a network may be called "com".
- Any class: known names are answered as IN (as Docker); else only IN is passed on.
- ANY: A and AAAA together.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netdrivers.contract.names import DnsZone
from netdrivers.contract.specs import IPAddress
from netdrivers.dns.message import (
    Answer,
    Malformed,
    Qtype,
    Query,
    Rcode,
    Reason,
    Resource,
    build_name,
)
from netdrivers.dns.records import Bearer, Match, Records, parse_reverse

CLASS_IN: Final = 1
ANY_CLASS: Final = 255
# Transfers and their kin (249 TKEY … 254 MAILA) and OPT, which is no question.
REFUSED_TYPES: Final = frozenset({249, 250, 251, 252, 253, 254})
ADDRESSES: Final = frozenset({Qtype.A, Qtype.AAAA, Qtype.ANY})

LOCAL: Final = "localhost"
LOOPBACK: Final[tuple[IPAddress, ...]] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_SRV: Final = struct.Struct("!3H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A reply that is only a code, and for who understands it a reason."""

    rcode: Rcode
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Ask the view's upstreams."""

    query: Query


Verdict = Answer | Failure | Forward
_HERE: Final = (
    Resource(rtype=Qtype.A, data=LOOPBACK[0].packed),
    Resource(rtype=Qtype.AAAA, data=LOOPBACK[1].packed),
)
_LOCAL_POINTER: Final = [Resource(rtype=Qtype.PTR, data=b"\x09localhost\x00")]
NOT_READY: Final = Failure(rcode=Rcode.SERVFAIL, reason=Reason.NOT_READY)


def resolve(query: Query | Malformed, records: Records) -> Verdict:
    """Decide about one query."""
    if (rcode := _fault(query)) is not None:
        return Failure(rcode=rcode)
    if isinstance(query, Malformed):
        return Failure(rcode=query.rcode)
    return (
        _find_local(query)
        or _find_address(query, records)
        or _find_service(query, records)
        or _find_pointer(query, records)
        or _beyond(query, records)
    )


def _fault(query: Query | Malformed) -> Rcode | None:
    if isinstance(query, Malformed):
        return query.rcode
    if query.edns and query.edns.version:
        return Rcode.BADVERS
    if query.qtype == Qtype.OPT:
        return Rcode.FORMERR
    return Rcode.REFUSED if query.qtype in REFUSED_TYPES else None


# --- this container itself ------------------------------------------------------------------


def _find_local(query: Query) -> Answer | None:
    if query.name == LOCAL or query.name.endswith("." + LOCAL):
        return Answer(first=[each for each in _HERE if query.qtype in {each.rtype, Qtype.ANY}])
    if parse_reverse(query.name) not in LOOPBACK:
        return None
    return Answer(first=_LOCAL_POINTER if query.qtype in {Qtype.PTR, Qtype.ANY} else [])


# --- addresses ------------------------------------------------------------------------------


def _find_address(query: Query, records: Records) -> Answer | Failure | None:
    match = records.find(query.name)
    if match is None:
        return None
    if query.qtype not in ADDRESSES:
        return Answer()
    if not match.usable:
        return NOT_READY
    seen: set[Resource] = set()
    chosen = [list(_pick(query.qtype, group, seen)) for group in match.usable]
    first = next((each for each in chosen if each), [])
    rest = [each for group in chosen if group is not first for each in group]
    return Answer(first=first, rest=rest)


def _pick(qtype: int, group: Iterable[Bearer], seen: set[Resource]) -> Iterable[Resource]:
    """Records of the asked type, each address once."""
    for bearer in group:
        for resource in _resources(bearer):
            if qtype in {resource.rtype, Qtype.ANY} and resource not in seen:
                seen.add(resource)
                yield resource


def _resources(bearer: Bearer, owner: bytes | None = None) -> Iterable[Resource]:
    for address in bearer.host.addresses:
        rtype = Qtype.A if address.version == 4 else Qtype.AAAA
        yield Resource(rtype=rtype, data=address.packed, owner=owner)


# --- ports ----------------------------------------------------------------------------------


def _find_service(query: Query, records: Records) -> Answer | Failure | None:
    """``_http._tcp.web``; None if that is no name below one of ours."""
    service, name = _split_service(query.name)
    match = records.find(name) if service else None
    if match is None:
        return None
    if not any(_offers(each, service) for group in match.groups for each in group):
        return Failure(rcode=Rcode.NXDOMAIN)
    if query.qtype not in {Qtype.SRV, Qtype.ANY} or service.count("_") == 1:
        return Answer()  # ``_tcp.web`` has names below it, but nothing itself
    return _answer_service(match, service)


def _split_service(name: str) -> tuple[str, str]:
    """("_http._tcp", "web.demo") of "_http._tcp.web.demo"; "" if there is none in it."""
    labels = name.split(".", 2)
    count = next((n for n, label in enumerate(labels) if not label.startswith("_")), 0)
    return ".".join(labels[:count]), ".".join(labels[count:])


def _offers(bearer: Bearer, service: str) -> bool:
    return any(each == service or each.endswith("." + service) for each in bearer.host.services)


def _answer_service(match: Match, service: str) -> Answer | Failure:
    """Each endpoint that offers it, and its addresses beside."""
    chosen = [each for group in match.usable for each in group if service in each.host.services]
    if not chosen:
        return NOT_READY
    found: dict[bytes, Resource] = {}
    additional: list[Resource] = []
    for bearer in chosen:
        target = _target(bearer.host.name, bearer.zone)
        if target is None:
            return Failure(rcode=Rcode.SERVFAIL)
        data = _SRV.pack(0, 0, bearer.host.services[service]) + target
        if data not in found:
            found[data] = Resource(rtype=Qtype.SRV, data=data)
            additional += _resources(bearer, target)
    return Answer(first=list(found.values()), additional=additional)


def _target(name: str, zone: DnsZone) -> bytes | None:
    """``name.network``, or the name alone where a network's long name does not fit into DNS."""
    return build_name(f"{name}.{zone.name}") or build_name(name)


# --- the rest -------------------------------------------------------------------------------


def _find_pointer(query: Query, records: Records) -> Answer | Failure | None:
    address = parse_reverse(query.name)
    found = records.find_reverse(address) if address else None
    if found is None:
        return None
    if query.qtype not in {Qtype.PTR, Qtype.ANY}:
        return Answer()
    target = _target(*found)
    if target is None:
        return Failure(rcode=Rcode.SERVFAIL)
    return Answer(first=[Resource(rtype=Qtype.PTR, data=target)])


def _beyond(query: Query, records: Records) -> Verdict:
    if query.qclass not in {CLASS_IN, ANY_CLASS}:
        return Failure(rcode=Rcode.REFUSED)
    if not records.view.upstreams:
        return Failure(rcode=Rcode.SERVFAIL)
    return Forward(query=query)
