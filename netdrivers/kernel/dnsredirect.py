"""127.0.0.11:53 of a sandbox led to another port: a table of its own, packed, read and compared.

Source: linux/include/uapi/linux/netfilter/nf_tables.h.
"""

import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from netdrivers.kernel.codec import (
    ACK,
    CREATE,
    DUMP,
    NESTED,
    REQUEST,
    Request,
    attr,
    parse_attrs,
    parse_list,
)
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.nfcodec import comment, message, text, userdata

NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, NEWRULE, GETRULE = 0, 1, 2, 3, 6, 7
DNS_TABLE: Final = "nodeagent-dns"
DNS_ADDRESS: Final = IPv4Address("127.0.0.11")
DNS_PORT: Final = 53
APPEND: Final = 0x800
PROTOCOLS: Final = (socket.IPPROTO_UDP, socket.IPPROTO_TCP)
BEFORE_TRACKING: Final = -300  # as iptables' "raw"
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
# where the address and the port of a packet's end stand in those
SOURCE, DESTINATION = (12, 0), (16, 2)
Expression = tuple[str, dict[int, bytes]]


def read(netlink: Netlink) -> int | None:
    """The port it leads to; 0 when the table is not whole, None when there is none."""
    table, rules = netlink.ask([get_table(), get_rules()])
    if table.errno or not table.messages:
        return None
    port = parse_port(table.messages[0][1])
    there = [parse_rule(body) for _, body in rules.messages]
    return port if is_whole(there, port) else 0


def is_whole(there: Sequence[Sequence[Expression]], port: int) -> bool:
    """Whether the rules are ours; the kernel tells more of each expression than was set."""
    ours = [parse_rule(body, at=0) for body in build_rules(port)]
    return len(there) == len(ours) and all(
        len(rule) == len(wanted)
        and all(
            name == kind and values.items() <= found.items()
            for (name, found), (kind, values) in zip(rule, wanted, strict=True)
        )
        for rule, wanted in zip(there, ours, strict=True)
    )


def get_table() -> Request:
    """Ask for the table."""
    return message(GETTABLE, REQUEST | ACK, socket.AF_INET, attr(1, text(DNS_TABLE)))


def get_rules() -> Request:
    """Ask for its rules."""
    return message(GETRULE, REQUEST | DUMP, socket.AF_INET, attr(1, text(DNS_TABLE)))


def parse_port(body: bytes) -> int:
    """The port that the table's comment names; 0 when it names none."""
    words = comment(parse_attrs(body, 4).get(6, b""))
    return int(words) if words.isdecimal() else 0


def parse_rule(body: bytes, at: int = 4) -> list[Expression]:
    """Name and attributes of each expression of a rule."""
    listed = parse_attrs(body, at).get(4, b"")
    found = [parse_attrs(raw) for _, raw in parse_list(listed)]
    return [
        (each.get(1, b"").rstrip(b"\0").decode(errors="replace"), parse_attrs(each.get(2, b"")))
        for each in found
    ]


def delete() -> Request:
    """Delete the table with its chain and rules."""
    return message(DELTABLE, REQUEST | ACK, socket.AF_INET, attr(1, text(DNS_TABLE)))


def add(port: int) -> list[Request]:
    """The table, its chain at the output hook, and rules for udp and tcp, both ways.

    Ports are rewritten packet by packet, and nothing is tracked. NAT would do, but then every
    question costs an entry of the sandbox's connection table for 30 s (a container that asks
    2,000 times a second loses all its network when that is full), every packet of the sandbox a
    look at it, and an answer 15 % more (2026-11). The price: who asks while nobody listens
    is not told so by ICMP over UDP, and asks again.
    """
    table = attr(1, text(DNS_TABLE)) + attr(6, userdata(str(port)))
    hook = attr(4 | NESTED, attr(1, _be(3)) + attr(2, struct.pack(">i", BEFORE_TRACKING)))
    chain = attr(1, text(DNS_TABLE)) + attr(3, text("output")) + hook + attr(7, text("filter"))
    flags = REQUEST | ACK | CREATE
    return [
        message(NEWTABLE, flags, socket.AF_INET, table),
        message(NEWCHAIN, flags, socket.AF_INET, chain),
        *(message(NEWRULE, flags | APPEND, socket.AF_INET, each) for each in build_rules(port)),
    ]


def build_rules(port: int) -> list[bytes]:
    """The bodies of the rules."""
    there, back = (DESTINATION, DNS_PORT, port), (SOURCE, port, DNS_PORT)
    return [_rule(protocol, *way) for protocol in PROTOCOLS for way in (there, back)]


def _rule(protocol: int, end: tuple[int, int], port: int, other: int) -> bytes:
    """At this end of a packet, our address and ``port``: make it ``other``, and do not track."""
    address_at, port_at = end
    checksum_at = 6 if protocol == socket.IPPROTO_UDP else 16
    load = [(1, 1), (2, NETWORK_HEADER), (3, address_at), (4, 4)]
    load_port = [(1, 1), (2, TRANSPORT_HEADER), (3, port_at), (4, 2)]
    write = [(2, TRANSPORT_HEADER), (3, port_at), (4, 2), (5, 1), (6, 1), (7, checksum_at)]
    expressions = [
        _expr("payload", load),
        _compare(DNS_ADDRESS.packed),
        _expr("meta", [(1, 1), (2, 16)]),  # l4proto
        _compare(bytes([protocol])),
        _expr("payload", load_port),
        _compare(struct.pack(">H", port)),
        _immediate(1, struct.pack(">H", other)),
        _expr("payload", write),
        _expr("notrack", []),
    ]
    listed = attr(4 | NESTED, b"".join(expressions))
    return attr(1, text(DNS_TABLE)) + attr(2, text("output")) + listed


def _expr(name: str, values: Sequence[tuple[int, int]]) -> bytes:
    """An expression and its numbers, by attribute."""
    data = b"".join(attr(at, _be(value)) for at, value in values)
    return attr(1 | NESTED, attr(1, text(name)) + attr(2 | NESTED, data))


def _compare(value: bytes) -> bytes:
    data = attr(1, _be(1)) + attr(2, _be(0)) + attr(3 | NESTED, attr(1, value))
    return attr(1 | NESTED, attr(1, text("cmp")) + attr(2 | NESTED, data))


def _immediate(register: int, value: bytes) -> bytes:
    data = attr(1, _be(register)) + attr(2 | NESTED, attr(1, value))
    return attr(1 | NESTED, attr(1, text("immediate")) + attr(2 | NESTED, data))


def _be(value: int) -> bytes:
    return struct.pack(">I", value)
