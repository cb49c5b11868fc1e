"""Addresses and routes as netlink messages. Pure; links and attributes: ``codec``.

Source: man 7 rtnetlink; linux/include/uapi/linux/{if_addr,rtnetlink}.h.
"""

import socket
import struct
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Final

from netdrivers.kernel.codec import (
    ACK,
    CREATE,
    DUMP,
    EXCL,
    REPLACE,
    REQUEST,
    U32,
    Request,
    _u32,
    attr,
    parse_attrs,
)

ADDR: Final = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
ROUTE: Final = struct.Struct("=BBBBBBBBI")
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
OUR_PROTOCOL: Final = 173  # of addresses and routes; not in any rt_protos file known
(KERNEL_PROTOCOL, ROUTER_PROTOCOL) = 2, 9  # RTPROT_KERNEL, RTPROT_RA
(IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO) = 1, 2, 8, 11
(IFA_F_NODAD, IFA_F_OPTIMISTIC, IFA_F_DADFAILED) = 2, 4, 8
(RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE) = 1, 4, 5, 15
(RT_TABLE_MAIN, RT_TABLE_LOCAL, RTN_UNICAST, SCOPE_LINK) = 254, 255, 1, 253


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressInfo:
    """An address and who put it there; ``routed``: with the way to its subnet, see ``inside``."""

    index: int
    ip: IPv4Interface | IPv6Interface
    protocol: int
    flags: int = 0
    routed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteInfo:
    """A unicast route."""

    to: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None
    index: int
    table: int
    protocol: int


def dump_addresses(index: int = 0) -> Request:
    """Ask for the addresses of one link, or of all."""
    return Request(GETADDR, REQUEST | DUMP, ADDR.pack(0, 0, 0, 0, index))


def add_address(index: int, ip: IPv4Interface | IPv6Interface, *, dad: bool = False) -> Request:
    """Our mark goes on it; one that is already there becomes ours. No wait for duplicates.

    With ``dad`` it is in use while the kernel asks for them, and taken out of use if there is one.
    """
    flag = U32.pack(IFA_F_OPTIMISTIC if dad else IFA_F_NODAD)
    flags = attr(IFA_FLAGS, flag) if ip.version == 6 else b""
    body = _address(index, ip) + attr(IFA_PROTO, bytes([OUR_PROTOCOL])) + flags
    return Request(NEWADDR, REQUEST | ACK | CREATE | REPLACE, body)


def delete_address(index: int, ip: IPv4Interface | IPv6Interface) -> Request:
    """Delete one address of a link."""
    return Request(DELADDR, REQUEST | ACK, _address(index, ip))


def parse_address(body: bytes) -> AddressInfo:
    """Read the body of a RTM_NEWADDR message."""
    _, prefix_len, _, _, index = ADDR.unpack_from(body)
    attrs = parse_attrs(body, ADDR.size)
    raw = attrs.get(IFA_LOCAL) or attrs[IFA_ADDRESS]
    return AddressInfo(
        index=index,
        ip=ip_interface((raw, prefix_len)),
        protocol=attrs.get(IFA_PROTO, b"\0")[0],
        flags=_u32(attrs.get(IFA_FLAGS)),
    )


def _address(index: int, ip: IPv4Interface | IPv6Interface) -> bytes:
    raw = ip.ip.packed
    head = ADDR.pack(_family(ip.version), ip.network.prefixlen, 0, 0, index)
    return head + attr(IFA_LOCAL, raw) + attr(IFA_ADDRESS, raw)


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6


# --- routes ---------------------------------------------------------------------------------


def dump_routes(version: int) -> Request:
    """Ask for all routes of one family, all tables."""
    return Request(GETROUTE, REQUEST | DUMP, ROUTE.pack(_family(version), *(0,) * 8))


def dump_routes_of(version: int, protocol: int = OUR_PROTOCOL) -> Request:
    """Ask for those of one family that bear a mark, ours or the kernel's."""
    head = ROUTE.pack(_family(version), 0, 0, 0, RT_TABLE_MAIN, protocol, 0, 0, 0)
    return Request(GETROUTE, REQUEST | DUMP, head)


def add_route(route: RouteInfo, *, replace: bool) -> Request:
    """Add a route with our protocol number; ``replace``: one of somebody else is overridden."""
    return Request(NEWROUTE, REQUEST | ACK | CREATE | (REPLACE if replace else EXCL), _route(route))


def delete_route(route: RouteInfo) -> Request:
    """Delete a route of ours."""
    return Request(DELROUTE, REQUEST | ACK, _route(route))


def parse_route(body: bytes) -> RouteInfo:
    """Read the body of a RTM_NEWROUTE message."""
    family, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack_from(body)
    attrs = parse_attrs(body, ROUTE.size)
    everything = bytes(4 if family == socket.AF_INET else 16)
    gateway = attrs.get(RTA_GATEWAY)
    return RouteInfo(
        to=ip_network((attrs.get(RTA_DST, everything), length)),
        via=ip_address(gateway) if gateway else None,
        index=_u32(attrs.get(RTA_OIF)),
        table=_u32(attrs.get(RTA_TABLE)) or table,
        protocol=protocol if kind == RTN_UNICAST else 0,
    )


def _route(route: RouteInfo) -> bytes:
    scope = 0 if route.via else SCOPE_LINK
    way = (0, 0, RT_TABLE_MAIN, route.protocol, scope, RTN_UNICAST, 0)
    head = ROUTE.pack(_family(route.to.version), route.to.prefixlen, *way)
    to = attr(RTA_DST, route.to.network_address.packed) if route.to.prefixlen else b""
    via = attr(RTA_GATEWAY, route.via.packed) if route.via else b""
    return head + to + via + attr(RTA_OIF, U32.pack(route.index))
