"""VXLAN links, their forwarding entries and neighbours as netlink messages. Pure.

Source: linux/include/uapi/linux/{if_link,neighbour}.h; drivers/net/vxlan/vxlan_core.c.
"""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netdrivers.kernel.codec import (
    ACK,
    CREATE,
    DUMP,
    REPLACE,
    REQUEST,
    U32,
    Request,
    add_lower,
    attr,
    parse_attrs,
)

IPAddress = IPv4Address | IPv6Address

NEIGH: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
AF_BRIDGE: Final = 7
PERMANENT: Final = 0x80  # NUD_PERMANENT
NTF_SELF: Final = 2
APPEND: Final = 0x800  # NLM_F_APPEND
(NDA_DST, NDA_LLADDR, NDA_IFINDEX) = 1, 2, 8
(VXLAN_ID, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PROXY, VXLAN_PORT) = 1, 4, 7, 11, 15
(VXLAN_LOCAL6, VXLAN_CSUM6_TX, VXLAN_CSUM6_RX) = 17, 19, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanInfo:
    """What we look at of a VXLAN link."""

    vni: int
    local: IPAddress | None
    port: int
    quiet: bool  # learns nothing, and answers for neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighInfo:
    """A permanent entry: of a forwarding table if it has a MAC and a host, else a neighbour."""

    index: int
    mac: str
    address: IPAddress
    is_fdb: bool


def add_vxlan(name: str, *, vni: int, local: IPAddress, port: int, mtu_bytes: int) -> Request:
    """A VXLAN link, down. It sends and receives in the namespace of the socket that is asked.

    No checksum of its own over IPv6: what carries sealed packets has a better one.
    """
    data = attr(VXLAN_ID, U32.pack(vni)) + attr(VXLAN_PORT, port.to_bytes(2, "big"))
    data += attr(VXLAN_LOCAL if local.version == 4 else VXLAN_LOCAL6, local.packed)
    data += attr(VXLAN_LEARNING, b"\0") + attr(VXLAN_PROXY, b"\1")
    if local.version == 6:
        data += attr(VXLAN_CSUM6_TX, b"\1") + attr(VXLAN_CSUM6_RX, b"\1")
    return add_lower(name, kind="vxlan", data=data, mtu_bytes=mtu_bytes)


def parse_vxlan(tunnel: bytes) -> VxlanInfo:
    """Read ``LinkInfo.tunnel``."""
    attrs = parse_attrs(tunnel)
    local = attrs.get(VXLAN_LOCAL) or attrs.get(VXLAN_LOCAL6)
    return VxlanInfo(
        vni=U32.unpack(attrs.get(VXLAN_ID, bytes(4)))[0],
        local=ip_address(local) if local else None,
        port=int.from_bytes(attrs.get(VXLAN_PORT, b""), "big"),
        quiet=attrs.get(VXLAN_LEARNING) == b"\0" and attrs.get(VXLAN_PROXY) == b"\1",
    )


def fdb_entry(verb: str, index: int, mac: str, vtep: IPAddress) -> Request:
    """Frames for the MAC go to the host; of the MAC of everybody there may be many."""
    body = NEIGH.pack(AF_BRIDGE, index, PERMANENT, NTF_SELF, 0)
    body += attr(NDA_LLADDR, bytes.fromhex(mac.replace(":", ""))) + attr(NDA_DST, vtep.packed)
    if verb == "delete":
        return Request(DELNEIGH, REQUEST | ACK, body)
    how = REPLACE if any(bytes.fromhex(mac.replace(":", ""))) else APPEND
    return Request(NEWNEIGH, REQUEST | ACK | CREATE | how, body)


def neighbour(verb: str, index: int, ip: IPAddress, mac: str) -> Request:
    """Who asks for the address is told the MAC."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    body = NEIGH.pack(family, index, PERMANENT, 0, 0) + attr(NDA_DST, ip.packed)
    if verb == "delete":
        return Request(DELNEIGH, REQUEST | ACK, body)
    body += attr(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return Request(NEWNEIGH, REQUEST | ACK | CREATE | REPLACE, body)


def dump_fdb(index: int) -> Request:
    """Ask for the forwarding entries of one link."""
    return Request(GETNEIGH, REQUEST | DUMP, NEIGH.pack(AF_BRIDGE, index, 0, 0, 0))


def dump_neighbours(index: int) -> Request:
    """Ask for the neighbours of one link, both families."""
    head = NEIGH.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return Request(GETNEIGH, REQUEST | DUMP, head + attr(NDA_IFINDEX, U32.pack(index)))


def parse_neigh(body: bytes) -> NeighInfo | None:
    """Read the body of a RTM_NEWNEIGH message; None if it is no permanent entry of an overlay."""
    family, index, state, _, _ = NEIGH.unpack_from(body)
    attrs = parse_attrs(body, NEIGH.size)
    raw, mac = attrs.get(NDA_DST, b""), attrs.get(NDA_LLADDR, b"")
    if not state & PERMANENT or len(raw) not in {4, 16}:
        return None
    address = ip_address(raw)
    return NeighInfo(index=index, mac=mac.hex(":"), address=address, is_fdb=family == AF_BRIDGE)
