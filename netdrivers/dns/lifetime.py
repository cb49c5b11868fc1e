"""How long an upstream's reply may be kept, and the reply as it is later. Pure.

A reply is kept and expires as a whole, by the shortest TTL in it: each of its parts is then right
for as long as the whole is. Decisions:
- "No such name" and "no such type" are kept only with an SOA, for the lesser of its TTL and its
  MINIMUM; the SOA is served with that TTL (RFC 2308 sections 3 and 5).
- A chain of aliases without the record that was asked for and without an SOA is not kept.
- A TTL with its highest bit set is a large one, and cut like every large one (RFC 8767 section 4).

Source: RFC 1035 section 4.1, RFC 2308, RFC 6891 (extended codes), RFC 8767.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from netdrivers.dns.message import (
    AA,
    HEADER_BYTES,
    BadMessage,
    Qtype,
    Rcode,
    is_truncated,
    skip_name,
)

MAX_TTL_S: Final = 3600
MAX_NEGATIVE_TTL_S: Final = 1800  # beyond, a new name stays unknown for too long
SOA_MIN_BYTES: Final = 22  # two root names and five numbers

_COUNTS: Final = struct.Struct("!3H")
_RECORD: Final = struct.Struct("!HHIH")
_TTL: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """``ttls``: where each TTL stands in the reply and its seconds; ``keep_s``: the least."""

    keep_s: int
    is_negative: bool
    ttls: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Record:
    is_answer: bool
    rtype: int
    ttl_at: int
    ttl_s: int
    data: bytes


def parse_lifetime(reply: bytes, qtype: int) -> Lifetime | None:
    """How long ``reply`` to a question for ``qtype`` may be kept; None = not at all."""
    if len(reply) < HEADER_BYTES or is_truncated(reply):
        return None
    try:
        records = list(_records(reply))
    except (BadMessage, struct.error):
        return None
    is_negative = not _has_answer(records, reply[3] & 0xF, qtype)
    ttls = dict(_lifetimes(records, MAX_NEGATIVE_TTL_S if is_negative else MAX_TTL_S))
    if is_negative and not _cut_to_soa(records, ttls):
        return None
    keep_s = min(ttls.values(), default=0)
    if keep_s <= 0:
        return None
    return Lifetime(keep_s=keep_s, is_negative=is_negative, ttls=tuple(ttls.items()))


def _records(reply: bytes) -> Iterator[_Record]:
    """All records behind the question."""
    answers, authorities, extras = _COUNTS.unpack_from(reply, 6)
    at = skip_name(reply, HEADER_BYTES) + 4
    for number in range(answers + authorities + extras):
        at = skip_name(reply, at)
        rtype, _, ttl_s, length = _RECORD.unpack_from(reply, at)
        end = at + _RECORD.size + length
        if end > len(reply):
            raise BadMessage
        yield _Record(number < answers, rtype, at + 4, ttl_s, reply[end - length : end])
        at = end


def _has_answer(records: Sequence[_Record], rcode: int, qtype: int) -> bool:
    return rcode == Rcode.NOERROR and any(
        each.is_answer and qtype in {each.rtype, Qtype.ANY} for each in records
    )


def _lifetimes(records: Sequence[_Record], most_s: int) -> Iterator[tuple[int, int]]:
    """Where each TTL stands and its seconds. OPT has none: its field bears the upper code bits."""
    for each in records:
        if each.rtype != Qtype.OPT:
            yield each.ttl_at, min(each.ttl_s, most_s)
        elif each.ttl_s >> 24:
            yield each.ttl_at, 0  # an error that only EDNS can say: not kept


def _cut_to_soa(records: Sequence[_Record], ttls: dict[int, int]) -> bool:
    """Cut the SOA's TTL to its MINIMUM; False if there is none to say how long no means no."""
    for each in records:
        if each.rtype == Qtype.SOA and not each.is_answer and len(each.data) >= SOA_MIN_BYTES:
            ttls[each.ttl_at] = min(ttls[each.ttl_at], *_TTL.unpack(each.data[-4:]))
            return True
    return False


def build_aged(reply: bytes, lifetime: Lifetime, age_s: int) -> bytes:
    """The reply ``age_s`` later: each TTL less by that, and no claim to authority (AA)."""
    aged = _unclaimed(reply)
    for at, ttl_s in lifetime.ttls:
        _TTL.pack_into(aged, at, max(ttl_s - age_s, 0))
    return bytes(aged)


def build_stale(reply: bytes, lifetime: Lifetime, ttl_s: int) -> bytes:
    """The reply after its time, every TTL ``ttl_s``."""
    stale = _unclaimed(reply)
    for at, _ in lifetime.ttls:
        _TTL.pack_into(stale, at, ttl_s)
    return bytes(stale)


def _unclaimed(reply: bytes) -> bytearray:
    copy = bytearray(reply)
    copy[2] &= ~(AA >> 8)
    return copy
