"""Questions with one answer: which way to an address, which neighbour, which port of a bridge.

Source: man 7 rtnetlink; linux/include/uapi/linux/{neighbour,rtnetlink}.h.
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netdrivers.kernel.codec import (
    DUMP,
    REQUEST,
    U32,
    Request,
    attr,
    parse_attrs,
)
from netdrivers.kernel.ipcodec import GETROUTE, ROUTE

NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
GETNEIGH: Final = 30
AF_BRIDGE: Final = 7
ACK: Final = 4
(RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_METRICS, RTA_VIA) = 1, 4, 5, 7, 8, 18
RTAX_MTU: Final = 2
(NDA_DST, NDA_LLADDR, NDA_MASTER) = 1, 2, 9
STATES: Final = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
LOOP: Final = "local"
KINDS: Final = {1: "unicast", 2: LOOP, 3: "broadcast", 6: "blackhole", 7: "unreachable"}

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where the kernel would send a packet."""

    index: int
    via: IPAddress | None = None
    source: IPAddress | None = None
    mtu_bytes: int = 0  # 0: that of the link
    kind: str = "unicast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Who has an address on a link, as far as the kernel knows."""

    index: int
    ip: IPAddress
    mac: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Behind which port of a bridge a MAC is."""

    index: int
    bridge: int
    mac: str
    state: str


def get_way(to: IPAddress) -> Request:
    """Ask which way a packet of this namespace to ``to`` would go."""
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    head = ROUTE.pack(family, to.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return Request(GETROUTE, REQUEST | ACK, head + attr(RTA_DST, to.packed))


def parse_way(body: bytes) -> Way:
    """Read the answer to ``get_way``."""
    kind = ROUTE.unpack_from(body)[7]
    attrs = parse_attrs(body, ROUTE.size)
    metrics = parse_attrs(attrs.get(RTA_METRICS, b""))
    return Way(
        index=_u32(attrs.get(RTA_OIF)),
        via=_ip(attrs.get(RTA_GATEWAY) or attrs.get(RTA_VIA, b"")[2:]),
        source=_ip(attrs.get(RTA_PREFSRC, b"")),
        mtu_bytes=_u32(metrics.get(RTAX_MTU)),
        kind=KINDS.get(kind, str(kind)),
    )


def dump_neighbours(version: int) -> Request:
    """Ask for all neighbours of one family."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return Request(GETNEIGH, REQUEST | DUMP, NEIGHBOUR.pack(family, 0, 0, 0, 0))


def parse_neighbour(body: bytes) -> Neighbour | None:
    """Read one neighbour; None for what has no address."""
    _, index, state, _, _ = NEIGHBOUR.unpack_from(body)
    attrs = parse_attrs(body, NEIGHBOUR.size)
    ip = _ip(attrs.get(NDA_DST, b""))
    if ip is None:
        return None
    mac = attrs.get(NDA_LLADDR, b"").hex(":")
    return Neighbour(index=index, ip=ip, mac=mac, state=_state(state))


def dump_forwards(bridge: int) -> Request:
    """Ask for the forwarding entries of one bridge."""
    head = NEIGHBOUR.pack(AF_BRIDGE, 0, 0, 0, 0)
    return Request(GETNEIGH, REQUEST | DUMP, head + attr(NDA_MASTER, U32.pack(bridge)))


def parse_forward(body: bytes) -> Forward:
    """Read one forwarding entry."""
    _, index, state, _, _ = NEIGHBOUR.unpack_from(body)
    attrs = parse_attrs(body, NEIGHBOUR.size)
    return Forward(
        index=index,
        bridge=_u32(attrs.get(NDA_MASTER)),
        mac=attrs.get(NDA_LLADDR, b"").hex(":"),
        state=_state(state),
    )


def parse_all_neighbours(messages: Sequence[tuple[int, bytes]]) -> list[Neighbour]:
    """The neighbours of a dump that have an address."""
    return [found for _, body in messages if (found := parse_neighbour(body))]


def _state(bits: int) -> str:
    return "+".join(name for bit, name in STATES.items() if bits & bit) or "none"


def _ip(raw: bytes) -> IPAddress | None:
    return ip_address(raw) if len(raw) in {4, 16} else None


def _u32(raw: bytes | None) -> int:
    return int(U32.unpack(raw)[0]) if raw and len(raw) == 4 else 0
