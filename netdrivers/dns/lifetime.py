"""How long an upstream's reply may be kept, and the reply as it is later. Pure.

A reply is kept, counts down and expires as a whole, by the shortest TTL in it: no part is then
believed for longer than it may be. Decisions:
- "No such name" and "no such type" are kept only with an SOA, for the lesser of its TTL and its
  MINIMUM (RFC 2308 sections 3 and 5).
- A chain of aliases without the record that was asked for and without an SOA is not kept.
- A TTL with its highest bit set is a large one, and cut like every large one (RFC 8767 section 4).

Source: RFC 1035 section 4.1, RFC 2308, RFC 6891 (extended codes), RFC 8767.
"""

import struct
from array import array
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
    """``ttls_at``: where the TTLs stand in the reply (two bytes each, as replies are hostile)."""

    keep_s: int
    is_negative: bool
    ttls_at: Sequence[int]


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
    most_s = _negative_s(records) if is_negative else MAX_TTL_S
    timed = [each for each in records if each.rtype != Qtype.OPT]
    keep_s = min((each.ttl_s for each in timed), default=0)
    keep_s = min(keep_s, most_s)
    if keep_s <= 0 or _has_extended_error(records):
        return None
    ttls_at = array("H", (each.ttl_at for each in timed))
    return Lifetime(keep_s=keep_s, is_negative=is_negative, ttls_at=ttls_at)


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


def _negative_s(records: Sequence[_Record]) -> int:
    """What the SOA says of how long no means no; 0 = there is none."""
    for each in records:
        if each.rtype == Qtype.SOA and not each.is_answer and len(each.data) >= SOA_MIN_BYTES:
            return min(int.from_bytes(each.data[-4:]), MAX_NEGATIVE_TTL_S)
    return 0


def _has_extended_error(records: Sequence[_Record]) -> bool:
    """Whether it is an error that only EDNS can say: OPT's TTL bears the code's upper bits."""
    return any(each.rtype == Qtype.OPT and each.ttl_s >> 24 for each in records)


def build_again(reply: bytes, lifetime: Lifetime, ttl_s: int) -> bytes:
    """The reply with every TTL ``ttl_s``, and no claim to authority (AA)."""
    again = bytearray(reply)
    again[2] &= ~(AA >> 8)
    for at in lifetime.ttls_at:
        _TTL.pack_into(again, at, ttl_s)
    return bytes(again)
