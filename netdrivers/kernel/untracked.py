"""Rules that take packets out of connection tracking: what they match is not translated.

Source: linux/include/uapi/linux/netfilter/{nf_tables,xt_CT}.h.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from netdrivers.kernel.codec import DUMP, REQUEST, parse_attrs
from netdrivers.kernel.dnsredirect import GETRULE, Expression, parse_rule
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.nfcodec import message

EVERY: Final = 0
XT_CT_NOTRACK: Final = 1
FAMILIES: Final = {1: "inet", 2: "ip", 10: "ip6"}
OURS: Final = "nodeagent"
L4PROTO: Final = 16
TRANSPORT_HEADER: Final = 2
PORTS_AT: Final = frozenset({0, 2})  # source and destination, of an answer and of a question
PROTOCOLS: Final = {6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Untracked:
    """Such a rule. ``protocol`` "", ``port`` 0: it asks for none, or not in plain words."""

    family: str
    table: str
    chain: str
    handle: int
    protocol: str = ""
    port: int = 0


def read_untracked(netlink: Netlink) -> Iterator[Untracked]:
    """Those of a namespace that are not ours."""
    for _, body in netlink.dump(message(GETRULE, REQUEST | DUMP, EVERY, b"")):
        found = parse_untracked(body)
        if found is not None and not found.table.startswith(OURS):
            yield found


def parse_untracked(body: bytes) -> Untracked | None:
    """Read one rule; None for one that leaves tracking alone."""
    expressions = parse_rule(body)
    if body[0] not in FAMILIES or not any(map(_takes_out, expressions)):
        return None
    attrs = parse_attrs(body, 4)
    protocol, port = _asks(expressions)
    return Untracked(
        family=FAMILIES[body[0]],
        table=_text(attrs, 1),
        chain=_text(attrs, 2),
        handle=int.from_bytes(attrs.get(3, b""), "big"),
        protocol=protocol,
        port=port,
    )


def _takes_out(expression: Expression) -> bool:
    name, attrs = expression
    flags = int.from_bytes(attrs.get(3, b"")[:2], sys.byteorder)
    by_iptables = name == "target" and _text(attrs, 1) == "CT" and bool(flags & XT_CT_NOTRACK)
    return name == "notrack" or by_iptables


def _asks(expressions: list[Expression]) -> tuple[str, int]:
    """The protocol and the port that a packet must have, where plainly compared."""
    protocol, port = "", 0
    for (name, load), (then, compare) in pairwise(expressions):
        value = parse_attrs(compare.get(3, b"")).get(1, b"")
        if then != "cmp" or _number(compare, 2) != 0:
            continue
        if name == "meta" and _number(load, 2) == L4PROTO and value:
            protocol = PROTOCOLS.get(value[0], "other")
        at_port = _number(load, 3) in PORTS_AT and _number(load, 4) == 2
        if name == "payload" and _number(load, 2) == TRANSPORT_HEADER and at_port:
            port = int.from_bytes(value, "big")
    return protocol, port


def _number(attrs: Mapping[int, bytes], at: int) -> int:
    return int.from_bytes(attrs.get(at, b""), "big")


def _text(attrs: Mapping[int, bytes], at: int) -> str:
    return attrs.get(at, b"").rstrip(b"\0").decode(errors="replace")
