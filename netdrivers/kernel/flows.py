"""Tracked flows that came in by a published port, found and ended.

A client that goes on sending datagrams would else be led to the former container for ever.
One look at the kernel's flows for each address, whatever the number of its ports: a look walks
the whole table.

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netdrivers.errors import Refused
from netdrivers.kernel.codec import ACK, DUMP, NESTED, REQUEST, U32, Request, attr, parse_attrs
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.nfcodec import PROTOCOL_NAMES
from netdrivers.plan.objects import Element

GET: Final = 1 << 8 | 1
DELETE: Final = 1 << 8 | 2
ORIG, REPLY, ID, FILTER = 1, 2, 12, 25  # attributes of a flow
FILTER_IP_SRC: Final = 1
PORT: Final = struct.Struct(">H")

IPAddress = IPv4Address | IPv6Address


def forget_flows(netlink: Netlink, elements: Iterable[Element]) -> None:
    """End the flows that the elements of publish maps led to their containers."""
    ports: dict[IPAddress, set[tuple[str, int]]] = {}
    for element in elements:
        ip, port = element.value
        protocol = element.match[-2]
        if isinstance(ip, IPv4Address | IPv6Address) and isinstance(port, int):
            ports.setdefault(ip, set()).add((str(protocol), port))
    for ip, wanted in ports.items():
        netlink.ask([
            build_delete(ip, body)
            for body in _flows_to(netlink, ip)
            if parse_answerer(body) in {(ip, *each) for each in wanted}
        ])  # fmt: skip


def _flows_to(netlink: Netlink, ip: IPAddress) -> list[bytes]:
    try:
        return [body for _, body in netlink.dump(build_query(ip))]
    except Refused:  # before Linux 5.8 there is no filter: those flows end by their timeout
        return []


def build_query(ip: IPAddress) -> Request:
    """Ask for the flows that ``ip`` answers."""
    source = attr(1 | NESTED, attr(1 if ip.version == 4 else 3, ip.packed))
    flags = attr(1, U32.pack(0)) + attr(2, U32.pack(FILTER_IP_SRC))
    body = _head(ip) + attr(REPLY | NESTED, source) + attr(FILTER | NESTED, flags)
    return Request(GET, REQUEST | DUMP, body)


def build_delete(ip: IPAddress, flow: bytes) -> Request:
    """Delete just this flow; one that is gone meanwhile is refused, and not missed."""
    attrs = parse_attrs(flow, 4)
    body = _head(ip) + attr(ORIG | NESTED, attrs[ORIG])
    if ID in attrs:
        body += attr(ID, attrs[ID])
    return Request(DELETE, REQUEST | ACK, body)


def parse_answerer(flow: bytes) -> tuple[IPAddress, str, int]:
    """Who answers in a flow: address, protocol, port."""
    reply = parse_attrs(parse_attrs(flow, 4)[REPLY])
    address, inner = parse_attrs(reply[1]), parse_attrs(reply[2])
    ip: IPAddress = IPv4Address(address[1]) if 1 in address else IPv6Address(address[3])
    (port,) = PORT.unpack(inner.get(2, b"\0\0"))
    return ip, PROTOCOL_NAMES.get(inner[1][0], ""), port


def _head(ip: IPAddress) -> bytes:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    return struct.pack(">BBH", family, 0, 0)
