"""The kernel's WireGuard as generic netlink messages. Pure.

Source: linux/include/uapi/linux/{genetlink,wireguard}.h.
"""

import socket
import struct
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netdrivers.kernel.codec import (
    ACK,
    DUMP,
    NESTED,
    REQUEST,
    Request,
    attr,
    parse_attrs,
    parse_list,
)

IPAddress = IPv4Address | IPv6Address

GENL: Final = struct.Struct("=BBxx")  # command, version
(GENL_ID_CTRL, CTRL_GETFAMILY, CTRL_FAMILY_ID, CTRL_FAMILY_NAME) = 16, 3, 1, 2
(GET_DEVICE, SET_DEVICE) = 0, 1
(DEVICE_IFNAME, DEVICE_PRIVATE, DEVICE_PUBLIC, DEVICE_PORT, DEVICE_PEERS) = 2, 3, 4, 6, 8
(PEER_KEY, PEER_FLAGS, PEER_ENDPOINT, PEER_HANDSHAKE, PEER_RX, PEER_TX) = 1, 3, 4, 6, 7, 8
PEER_ALLOWED: Final = 9
(PEER_REMOVE, PEER_REPLACE_ALLOWED) = 1, 2
(IP_FAMILY, IP_ADDRESS, IP_MASK) = 1, 2, 3
U64: Final = struct.Struct("=Q")
TIME: Final = struct.Struct("=qq")


@dataclass(frozen=True, slots=True, kw_only=True)
class WgPeer:
    """A peer as the kernel says it. ``allowed``: (address, prefix length)."""

    key: str
    host: IPAddress | None = None
    port: int = 0
    allowed: tuple[tuple[IPAddress, int], ...] = ()
    handshake_s: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WgDevice:
    """A device, or a part of a large one: the kernel sends many messages."""

    key: str = ""
    port: int = 0
    peers: list[WgPeer] = field(default_factory=list)


def find_family() -> Request:
    """Ask for the number of the family."""
    name = attr(CTRL_FAMILY_NAME, b"wireguard\0")
    return Request(GENL_ID_CTRL, REQUEST | ACK, GENL.pack(CTRL_GETFAMILY, 1) + name)


def parse_family(body: bytes) -> int:
    """The number of the family."""
    return int(struct.unpack("=H", parse_attrs(body, GENL.size)[CTRL_FAMILY_ID])[0])


def get_device(family: int, name: str) -> Request:
    """Ask for a device and all its peers."""
    return Request(family, REQUEST | DUMP, GENL.pack(GET_DEVICE, 1) + _ifname(name))


def set_device(
    family: int, name: str, *, private: bytes | None = None, port: int | None = None,
    peers: bytes = b"",
) -> Request:  # fmt: skip
    """Set what is given. ``peers``: any number of ``put_peer`` and ``drop_peer``."""
    body = GENL.pack(SET_DEVICE, 1) + _ifname(name)
    body += attr(DEVICE_PRIVATE, private) if private is not None else b""
    body += attr(DEVICE_PORT, struct.pack("=H", port)) if port is not None else b""
    body += attr(DEVICE_PEERS | NESTED, peers) if peers else b""
    return Request(family, REQUEST | ACK, body)


def put_peer(key: bytes, host: IPAddress, port: int, address: IPv6Address) -> bytes:
    """A peer with one address; what it had before is replaced."""
    allowed = attr(IP_FAMILY, struct.pack("=H", socket.AF_INET6))
    allowed += attr(IP_ADDRESS, address.packed) + attr(IP_MASK, bytes([128]))
    body = attr(PEER_KEY, key) + attr(PEER_FLAGS, struct.pack("=I", PEER_REPLACE_ALLOWED))
    body += attr(PEER_ENDPOINT, _sockaddr(host, port))
    body += attr(PEER_ALLOWED | NESTED, attr(0 | NESTED, allowed))
    return attr(0 | NESTED, body)


def drop_peer(key: bytes) -> bytes:
    """A peer that goes."""
    body = attr(PEER_KEY, key) + attr(PEER_FLAGS, struct.pack("=I", PEER_REMOVE))
    return attr(0 | NESTED, body)


def parse_device(body: bytes) -> WgDevice:
    """Read one message of an answer."""
    attrs = parse_attrs(body, GENL.size)
    return WgDevice(
        key=_key(attrs.get(DEVICE_PUBLIC, b"")),
        port=struct.unpack("=H", attrs.get(DEVICE_PORT, bytes(2)))[0],
        peers=[_peer(raw) for _, raw in parse_list(attrs.get(DEVICE_PEERS, b""))],
    )


def _peer(raw: bytes) -> WgPeer:
    attrs = parse_attrs(raw)
    host, port = _parse_sockaddr(attrs.get(PEER_ENDPOINT, b""))
    seconds, nanos = TIME.unpack(attrs.get(PEER_HANDSHAKE, bytes(16)))
    return WgPeer(
        key=_key(attrs.get(PEER_KEY, b"")),
        host=host,
        port=port,
        allowed=tuple(_allowed(each) for _, each in parse_list(attrs.get(PEER_ALLOWED, b""))),
        handshake_s=seconds + nanos / 1e9,
        rx_bytes=U64.unpack(attrs.get(PEER_RX, bytes(8)))[0],
        tx_bytes=U64.unpack(attrs.get(PEER_TX, bytes(8)))[0],
    )


def _allowed(raw: bytes) -> tuple[IPAddress, int]:
    attrs = parse_attrs(raw)
    return ip_address(attrs[IP_ADDRESS]), attrs[IP_MASK][0]


def _key(raw: bytes) -> str:
    return b64encode(raw).decode() if any(raw) else ""


def _ifname(name: str) -> bytes:
    return attr(DEVICE_IFNAME, name.encode() + b"\0")


def _sockaddr(host: IPAddress, port: int) -> bytes:
    if host.version == 4:
        return struct.pack("=H", socket.AF_INET) + port.to_bytes(2, "big") + host.packed + bytes(8)
    head = struct.pack("=H", socket.AF_INET6) + port.to_bytes(2, "big") + bytes(4)
    return head + host.packed + bytes(4)


def _parse_sockaddr(raw: bytes) -> tuple[IPAddress | None, int]:
    if len(raw) < 16:
        return None, 0
    port = int.from_bytes(raw[2:4], "big")
    return ip_address(raw[8:24] if len(raw) >= 28 else raw[4:8]), port
