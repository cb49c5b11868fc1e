"""DNS messages as bytes: questions parsed, answers built, forwarded replies judged. Pure.

Written by hand because a look-up may cost microseconds only; dnslib does what is rare (cutting a
forwarded reply to the size its asker can take).

Source: RFC 1035 section 4, RFC 6891 (EDNS0), RFC 7766 (TCP), RFC 8914 (extended errors).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from typing import Final

from dnslib import DNSError, DNSRecord
from dnslib.buffer import BufferError as DnslibBufferError
from dnslib.label import DNSLabelError

QR: Final = 0x8000
OPCODE: Final = 0x7800
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
CD: Final = 0x0010
DO: Final = 0x8000
HEADER_BYTES: Final = 12
EXTENDED_ERROR: Final = 15  # the option's number
PLAIN_UDP_BYTES: Final = 512
OUR_UDP_BYTES: Final = 1232  # DNS flag day 2020: fits every path without fragments
MAX_BYTES: Final = 65535
# A question's answers may start with any of this many records; more would only cost memory.
MAX_TURNS: Final = 16

# What dnslib lets out of hostile bytes: its own errors, and those it forgets (seen by fuzzing).
DNSLIB_FAULTS: Final = (
    DNSError, DNSLabelError, DnslibBufferError, struct.error,
    ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip

_HEADER: Final = struct.Struct("!6H")
_TYPE_CLASS: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")
_OPTION: Final = struct.Struct("!3H")


class Rcode(IntEnum):
    """Response codes we send or look at."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16  # needs EDNS: the upper bits travel in the OPT record


class Reason(IntEnum):
    """Extended DNS errors we send, to askers with EDNS."""

    NOT_READY = 14


class Qtype(IntEnum):
    """Record types with a meaning here."""

    A = 1
    SOA = 6
    PTR = 12
    AAAA = 28
    SRV = 33
    OPT = 41
    ANY = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Edns:
    """What the asker's OPT record says."""

    size_bytes: int
    version: int
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One well-formed query. ``question`` is the section as sent, so its case can be echoed."""

    id: int
    flags: int
    name: str  # lower case, no dot at the end
    qtype: int
    qclass: int
    question: bytes
    edns: Edns | None

    @property
    def udp_bytes(self) -> int:
        """Largest datagram the asker takes."""
        return max(self.edns.size_bytes, PLAIN_UDP_BYTES) if self.edns else PLAIN_UDP_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A query that only deserves an error code."""

    id: int
    flags: int
    rcode: Rcode


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One record: its type and data. ``owner`` None = the name that was asked."""

    rtype: int
    data: bytes
    owner: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """NOERROR with these records; none = the name has no such type.

    ``first`` is rotated by one each time, ``rest`` follows. ``additional``: what may help, and may
    be left out where it does not fit.
    """

    first: Sequence[Resource] = ()
    rest: Sequence[Resource] = ()
    additional: Sequence[Resource] = ()


class BadMessage(ValueError):
    """The bytes do not parse."""


def parse_query(packet: bytes) -> Query | Malformed | None:
    """Read one query; None for what must not be answered at all (replies, scraps)."""
    if len(packet) < HEADER_BYTES:
        return None
    ident, flags, questions, answers, authorities, extras = _HEADER.unpack_from(packet)
    if flags & QR:
        return None
    if flags & OPCODE:
        return Malformed(id=ident, flags=flags, rcode=Rcode.NOTIMP)
    if questions != 1 or answers or authorities:
        return Malformed(id=ident, flags=flags, rcode=Rcode.FORMERR)
    try:
        labels, at = _parse_name(packet, HEADER_BYTES)
        qtype, qclass = _TYPE_CLASS.unpack_from(packet, at)
        end = at + _TYPE_CLASS.size
        edns = _parse_edns(packet, end, extras)
    except (BadMessage, struct.error):
        return Malformed(id=ident, flags=flags, rcode=Rcode.FORMERR)
    return Query(
        id=ident,
        flags=flags,
        name=_text(labels),
        qtype=qtype,
        qclass=qclass,
        question=packet[HEADER_BYTES:end],
        edns=edns,
    )


def _text(labels: Sequence[bytes]) -> str:
    """Dotted lower-case name; a dot inside a label is escaped, so it cannot fake a boundary."""
    return ".".join(label.lower().replace(b".", b"\\.").decode("latin-1") for label in labels)


def _parse_name(packet: bytes, at: int) -> tuple[list[bytes], int]:
    """Labels and the offset after them. A question has nothing before it to point at."""
    labels: list[bytes] = []
    start = at
    while at < len(packet):
        length = packet[at]
        if length == 0:
            return labels, at + 1
        end = at + 1 + length
        if length > 63 or end - start > 254 or end > len(packet):
            break
        labels.append(packet[at + 1 : end])
        at = end
    raise BadMessage


def skip_name(packet: bytes, at: int) -> int:
    """The offset after the name at ``at``, its end or a pointer."""
    while at < len(packet):
        length = packet[at]
        if length >= 0xC0:
            return at + 2
        if length == 0:
            return at + 1
        at += 1 + length
    raise BadMessage


def _parse_edns(packet: bytes, at: int, extras: int) -> Edns | None:
    found: Edns | None = None
    for _ in range(extras):
        is_root = at < len(packet) and packet[at] == 0
        at = skip_name(packet, at)
        rtype, size, ttl, length = _RECORD.unpack_from(packet, at)
        at += _RECORD.size + length
        if at > len(packet):
            raise BadMessage
        if rtype == Qtype.OPT:
            if found or not is_root:
                raise BadMessage
            found = Edns(size_bytes=size, version=ttl >> 16 & 0xFF, flags=ttl & 0xFFFF)
    return found


def _flags(asked: int, rcode: int) -> int:
    """Reply flags: RA always, because we do recurse (musl and dig complain without it)."""
    return QR | RA | asked & (OPCODE | RD | CD) | rcode & 0xF


def build_opt(edns: Edns | None, rcode: int = 0, reason: Reason | None = None) -> bytes:
    """Our OPT record if the asker sent one, else nothing."""
    if edns is None:
        return b""
    ttl = rcode >> 4 << 24 | edns.flags & DO
    options = b"" if reason is None else _OPTION.pack(EXTENDED_ERROR, 2, reason)
    return b"\0" + _RECORD.pack(Qtype.OPT, OUR_UDP_BYTES, ttl, len(options)) + options


def build_error(query: Query | Malformed, rcode: Rcode, reason: Reason | None = None) -> bytes:
    """A reply that holds nothing but its code (and the question, where there was one)."""
    flags = _flags(query.flags, rcode)
    if isinstance(query, Malformed):
        return _HEADER.pack(query.id, flags, 0, 0, 0, 0)
    opt = build_opt(query.edns, rcode, reason)
    return _HEADER.pack(query.id, flags, 1, 0, 0, int(bool(opt))) + query.question + opt


def build_answers(query: Query, answer: Answer, *, ttl_s: int, max_bytes: int) -> list[bytes]:
    """Every turn of one answer. Where its records do not fit, some are left out and TC is set."""
    opt = build_opt(query.edns)
    first = [_build_record(each, ttl_s) for each in answer.first]
    rest = [_build_record(each, ttl_s) for each in answer.rest]
    more = [_build_record(each, ttl_s) for each in answer.additional]
    room = max_bytes - HEADER_BYTES - len(query.question) - len(opt)
    turns = range(min(max(len(first), 1), MAX_TURNS))
    return [
        _build_turn(query, [*first[turn:], *first[:turn], *rest], more, room, opt) for turn in turns
    ]


def _build_record(resource: Resource, ttl_s: int) -> bytes:
    # 0xC00C points at the question's name, so the owner is echoed in the asker's case
    owner = b"\xc0\x0c" if resource.owner is None else resource.owner
    data = resource.data
    return owner + _RECORD.pack(resource.rtype, 1, ttl_s, len(data)) + data


def _build_turn(
    query: Query, answers: Sequence[bytes], more: Sequence[bytes], room: int, opt: bytes
) -> bytes:
    parts = _fitting(answers, room)
    is_whole = len(parts) == len(answers)
    extras = _fitting(more, room - sum(map(len, parts))) if is_whole else []
    flags = _flags(query.flags, 0) | (0 if is_whole else TC)
    head = _HEADER.pack(query.id, flags, 1, len(parts), 0, len(extras) + int(bool(opt)))
    return b"".join((head, query.question, *parts, *extras, opt))


def _fitting(parts: Sequence[bytes], room: int) -> Sequence[bytes]:
    """As many of the first parts as there is room for."""
    for number, end in enumerate(accumulate(map(len, parts))):
        if end > room:
            return parts[:number]
    return parts


def build_name(text: str) -> bytes | None:
    """Wire form of a dotted name; None if a label or the whole is too long for DNS."""
    labels = [label.encode() for label in text.rstrip(".").split(".")]
    if any(not 0 < len(label) < 64 for label in labels):
        return None
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return wire if len(wire) <= 255 else None


def build_upstream(query: Query, ident: int) -> bytes:
    """The query as we pass it on: our id, recursion wanted, its EDNS without options."""
    opt = b""
    if query.edns is not None:
        opt = b"\0" + _RECORD.pack(Qtype.OPT, OUR_UDP_BYTES, query.edns.flags & DO, 0)
    flags = RD | query.flags & CD
    return _HEADER.pack(ident, flags, 1, 0, 0, int(bool(opt))) + query.question + opt


def is_reply_to(reply: bytes, sent: bytes, question: bytes) -> bool:
    """Whether ``reply`` answers the very query ``sent``: same id, same question."""
    echoed = reply[HEADER_BYTES : HEADER_BYTES + len(question)]
    return (
        len(reply) >= HEADER_BYTES
        and reply[:2] == sent[:2]
        and bool(reply[2] & 0x80)
        and reply[4:6] == b"\0\1"
        and echoed[:-4].lower() == question[:-4].lower()
        and echoed[-4:] == question[-4:]  # type 65 in lower case would be 97
    )


def is_truncated(reply: bytes) -> bool:
    """Whether the TC bit is set."""
    return bool(reply[2] & 0x02)


def has_verdict(reply: bytes) -> bool:
    """Whether the upstream knows: NOERROR or NXDOMAIN, not "ask somebody else"."""
    return reply[3] & 0xF in {Rcode.NOERROR, Rcode.NXDOMAIN}


def adapt_reply(reply: bytes, query: Query, max_bytes: int) -> bytes:
    """An upstream's reply made the asker's: its id, its case, RA set, within ``max_bytes``."""
    flags = int.from_bytes(reply[2:4]) | RA
    end = HEADER_BYTES + len(query.question)
    whole = b"".join(
        (
            query.id.to_bytes(2),
            flags.to_bytes(2),
            reply[4:HEADER_BYTES],
            query.question,
            reply[end:],
        )
    )
    return whole if len(whole) <= max_bytes else _cut(whole, query, max_bytes)


def _cut(reply: bytes, query: Query, max_bytes: int) -> bytes:
    """Keep as many answers as fit and set TC; the rest of the sections goes first."""
    try:
        message = DNSRecord.parse(reply)
        message.header.tc = 1
        message.auth.clear()
        message.ar[:] = [each for each in message.ar if each.rtype == Qtype.OPT]
        packed = _pack_most(message, max_bytes)
    except DNSLIB_FAULTS:
        return build_error(query, Rcode.SERVFAIL)
    return packed if len(packed) <= max_bytes else build_error(query, Rcode.SERVFAIL)


def _pack_most(message: DNSRecord, max_bytes: int) -> bytes:
    """The message with as many of its answers as fit, by halving: each packing costs 0.2 ms."""
    answers = list(message.rr)
    low, high = 0, len(answers)
    while low < high:
        middle = (low + high + 1) // 2
        message.rr[:] = answers[:middle]
        low, high = (middle, high) if len(message.pack()) <= max_bytes else (low, middle - 1)
    message.rr[:] = answers[:low]
    return bytes(message.pack())


def result_of(reply: bytes) -> str:
    """How a reply is counted."""
    code = reply[3] & 0xF
    if code == Rcode.NOERROR:
        return "noerror" if reply[6:8] != b"\0\0" else "nodata"
    names = {Rcode.SERVFAIL: "servfail", Rcode.NXDOMAIN: "nxdomain", Rcode.FORMERR: "formerr"}
    return names.get(Rcode(code) if code <= Rcode.REFUSED else Rcode.SERVFAIL, "refused")


class Frames:
    """Bytes of a TCP stream in, whole messages out. No socket, no clock."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; yield each message they complete."""
        self._buffer += data
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2])
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[2:end])
            del self._buffer[:end]
            yield message


def build_frame(message: bytes) -> bytes:
    """A message with its length before it, for TCP."""
    return len(message).to_bytes(2) + message
