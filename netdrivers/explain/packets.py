"""Packets of a probe, built and read by scapy: the one door to it, for the child process only.

Importing it costs 0.3 s and 30 MB, so the agent never does.
"""

from typing import Final

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    _ICMPv6Error,
)
from scapy.packet import Packet, Raw

from netdrivers.explain.errand import Errand, What

NUMBERS: Final = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58}
LEAST, LEAST6 = 20, 40  # bytes of a header
ERRORS: Final = frozenset({3, 11, 12})
CODES: Final = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "network prohibited",
    (3, 10): "host prohibited",
    (3, 13): "prohibited by a filter",
    (11, 0): "time exceeded",
}
CODES6: Final = {
    (1, 0): "no route",
    (1, 1): "prohibited by a filter",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (2, 0): "packet too big",
    (3, 0): "time exceeded",
}


def build_packet(errand: Errand, *, big: bool) -> bytes:
    """A SYN, a datagram or an echo request with our tag; a big one is filled up with zeros."""
    ident = errand.tag + big
    head: Packet
    if ":" in errand.target:
        head = IPv6(src=errand.source, dst=errand.target, fl=ident, hlim=64)
    else:
        head = IP(src=errand.source, dst=errand.target, id=ident, ttl=64, flags="DF")
    packet = head / _inner(errand, ident)
    missing = errand.big_bytes - len(bytes(packet)) if big else 0
    return bytes(packet / Raw(bytes(missing)) if missing > 0 else packet)


def _inner(errand: Errand, ident: int) -> Packet:
    if errand.protocol == "tcp":
        return TCP(sport=ident, dport=errand.port, flags="S", seq=ident << 16, window=64240)
    if errand.protocol == "udp":
        return UDP(sport=ident, dport=errand.port)
    if ":" in errand.target:
        return ICMPv6EchoRequest(id=ident, seq=1)
    return ICMP(type=8, id=ident, seq=1)


def read_packet(data: bytes, tag: int) -> tuple[What, bool, str] | None:
    """What a packet that starts with its IP header is to us; None for somebody else's."""
    if len(data) < LEAST or (len(data) < LEAST6 and data[0] >> 4 != 4):
        return None
    packet = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    return _read_error(packet, tag) or _read_own(packet, tag) or _read_reply(packet, tag)


def _read_error(packet: Packet, tag: int) -> tuple[What, bool, str] | None:
    if ICMP in packet and packet[ICMP].type in ERRORS:
        said, names, inner = packet[ICMP], CODES, bytes(packet[ICMP].payload)
        ident = int.from_bytes(inner[4:6], "big")
    elif isinstance(packet.payload, _ICMPv6Error):
        said, names, inner = packet.payload, CODES6, bytes(packet.payload.payload)
        ident = int.from_bytes(inner[1:4], "big") & 0xFFFFF
    else:
        return None
    if ident & ~1 != tag:
        return None
    words = names.get((said.type, said.code), f"type {said.type} code {said.code}")
    mtu = getattr(said, "nexthopmtu", 0) or getattr(said, "mtu", 0)
    text = f"{words}, says {packet.src}" + (f" (MTU {mtu})" if mtu else "")
    return "error", bool(ident & 1), text


def _read_own(packet: Packet, tag: int) -> tuple[What, bool, str] | None:
    ident = packet.id if IP in packet else packet.fl
    if ident & ~1 != tag or ICMPv6EchoReply in packet or _is_echo_reply(packet):
        return None
    return "probe", bool(ident & 1), f"{packet.src} to {packet.dst}"


def _read_reply(packet: Packet, tag: int) -> tuple[What, bool, str] | None:
    for layer, words in ((TCP, _flags), (UDP, _datagram)):
        if layer in packet and packet[layer].dport & ~1 == tag:
            return "reply", bool(packet[layer].dport & 1), words(packet)
    if ICMPv6EchoReply in packet and packet[ICMPv6EchoReply].id & ~1 == tag:
        return "reply", bool(packet[ICMPv6EchoReply].id & 1), "echo reply"
    if _is_echo_reply(packet) and packet[ICMP].id & ~1 == tag:
        return "reply", bool(packet[ICMP].id & 1), "echo reply"
    return None


def _is_echo_reply(packet: Packet) -> bool:
    return ICMP in packet and bool(packet[ICMP].type == 0)


def _flags(packet: Packet) -> str:
    return "connection refused" if packet[TCP].flags.R else "connection accepted"


def _datagram(packet: Packet) -> str:
    return f"a datagram of {len(packet[UDP].payload)} bytes"
