"""Who refuses the way to an address: the route or the policy rule, as a lookup comes by it.

The kernel says only an errno: EINVAL of a blackhole, EACCES of a prohibit, EHOSTUNREACH of an
unreachable. Its lookup is followed here, over dumps: the rules by priority, in each table the
longest prefix.

Source: man 8 ip-rule, ip-route; linux/include/uapi/linux/{fib_rules,rtnetlink}.h.
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from netdrivers.errors import Refused
from netdrivers.kernel.codec import DUMP, REQUEST, U32, Request, parse_attrs
from netdrivers.kernel.ipcodec import ROUTE, dump_routes
from netdrivers.kernel.netlink import Netlink

RULE: Final = struct.Struct(
    "=BBBBBBBBI"
)  # family, lengths of to and from, tos, table, -, -, action
GETRULE: Final = 34
(RTA_DST, RTA_PRIORITY, RTA_TABLE) = 1, 6, 15
(FRA_DST, FRA_IIFNAME, FRA_PRIORITY, FRA_TABLE) = 1, 3, 6, 15
# from, mark, its mask, out by, l3mdev, user, protocol, ports, dscp, flow labels: what a question
# for a way does not have
NARROW: Final = frozenset({2, 10, 16, 17, 19, 20, 22, 23, 24, 25, 26, 27})
FIB_RULE_INVERT: Final = 2
TO_TABLE: Final = 1
STOPS: Final = {6: "blackhole", 7: "unreachable", 8: "prohibit"}  # of rules and of routes alike
THROW: Final = 9
MAIN, LOCAL = 254, 255
TABLES: Final = {253: "default", MAIN: "main", LOCAL: "local"}

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What refuses, in the words of ``ip``, and the command that removes it."""

    what: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A policy rule that an address alone may fit."""

    priority: int
    to: IPNetwork
    action: int
    table: int
    inverted: bool = False

    def fits(self, ip: IPAddress) -> bool:
        """Whether a packet to ``ip`` is for this rule."""
        return (ip in self.to) is not self.inverted


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRoute:
    """A route of any type, as far as a lookup compares it."""

    to: IPNetwork
    table: int
    kind: int
    metric: int


def read_refusal(netlink: Netlink, ip: IPAddress) -> Refusal | None:
    """Look for what refuses the way to ``ip``; None for nothing but the lack of a route."""
    try:
        rules = [parse_rule(body) for _, body in netlink.dump(dump_rules(ip.version))]
    except Refused:  # a kernel without policy rules
        rules = []
    rules = rules or [_ordinary(ip, table) for table in (LOCAL, MAIN)]
    routes = [parse_table_route(body) for _, body in netlink.dump(dump_routes(ip.version))]
    return find_refusal([rule for rule in rules if rule], routes, ip)


def find_refusal(
    rules: Iterable[Rule], routes: Sequence[TableRoute], ip: IPAddress
) -> Refusal | None:
    """Follow the kernel's lookup to the one that ends it."""
    thrown = None
    for rule in sorted(rules, key=lambda each: each.priority):
        if not rule.fits(ip):
            continue
        if rule.action in STOPS:
            return _by_rule(rule)
        best = _find_route(routes, rule.table, ip) if rule.action == TO_TABLE else None
        if best is None:
            continue
        if best.kind != THROW:
            return _by_route(best, STOPS[best.kind]) if best.kind in STOPS else None
        thrown = thrown or _by_route(best, "throw")
    return thrown


def _ordinary(ip: IPAddress, table: int) -> Rule:
    everything = ip_network((ip, 0), strict=False)
    return Rule(priority=0, to=everything, action=TO_TABLE, table=table)


def _find_route(routes: Sequence[TableRoute], table: int, ip: IPAddress) -> TableRoute | None:
    covering = (each for each in routes if each.table == table and ip in each.to)
    return max(covering, key=lambda each: (each.to.prefixlen, -each.metric), default=None)


def _by_rule(rule: Rule) -> Refusal:
    to = f"{'not ' if rule.inverted else ''}to {_text(rule.to)} " if rule.to.prefixlen else ""
    words = f"pref {rule.priority} {to}{STOPS[rule.action]}"
    return Refusal(what=f"rule `{words}`", fix=f"{_ip(rule.to)} rule del {words}")


def _by_route(route: TableRoute, kind: str) -> Refusal:
    to = _text(route.to) if route.to.prefixlen else "default"
    table = TABLES.get(route.table, str(route.table))
    words = f"{kind} {to}" + (f" table {table}" if route.table != MAIN else "")
    return Refusal(what=f"route `{words}`", fix=f"{_ip(route.to)} route del {words}")


def _text(net: IPNetwork) -> str:
    return str(net.network_address if net.prefixlen == net.max_prefixlen else net)


def _ip(net: IPNetwork) -> str:
    return "ip" if net.version == 4 else "ip -6"


def dump_rules(version: int) -> Request:
    """Ask for the policy rules of one family."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return Request(GETRULE, REQUEST | DUMP, RULE.pack(family, *(0,) * 8))


def parse_rule(body: bytes) -> Rule | None:
    """Read one rule; None for one that asks for more than an address."""
    family, length, _, tos, table, _, _, action, flags = RULE.unpack_from(body)
    attrs = parse_attrs(body, RULE.size)
    enters = attrs.get(FRA_IIFNAME, b"lo").rstrip(b"\0")
    if tos or NARROW & attrs.keys() or enters != b"lo":
        return None
    return Rule(
        priority=_u32(attrs.get(FRA_PRIORITY)),
        to=_network(family, attrs.get(FRA_DST), length),
        action=action,
        table=_u32(attrs.get(FRA_TABLE)) or table,
        inverted=bool(flags & FIB_RULE_INVERT),
    )


def parse_table_route(body: bytes) -> TableRoute:
    """Read one route of a dump."""
    family, length, _, _, table, _, _, kind, _ = ROUTE.unpack_from(body)
    attrs = parse_attrs(body, ROUTE.size)
    return TableRoute(
        to=_network(family, attrs.get(RTA_DST), length),
        table=_u32(attrs.get(RTA_TABLE)) or table,
        kind=kind,
        metric=_u32(attrs.get(RTA_PRIORITY)),
    )


def _network(family: int, raw: bytes | None, length: int) -> IPNetwork:
    return ip_network((raw or bytes(4 if family == socket.AF_INET else 16), length))


def _u32(raw: bytes | None) -> int:
    return int(U32.unpack(raw)[0]) if raw and len(raw) == 4 else 0
