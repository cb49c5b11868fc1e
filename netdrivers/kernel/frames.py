"""Ethernet frames that tell neighbours whose an address is, and ask them. Pure.

Source: RFC 826, RFC 5227 (probe and announcement), RFC 4861 section 7.2.6 (unsolicited
advertisement), RFC 8200 section 8.1 (checksum).
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

ETH_P_ARP: Final = 0x0806
ETH_P_IPV6: Final = 0x86DD
BROADCAST: Final = b"\xff" * 6
ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
ALL_NODES: Final = IPv6Address("ff02::1")
NOBODY: Final = bytes(6)
NO_ADDRESS: Final = IPv4Address(0)
ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
ETHERNET: Final = struct.Struct("!6s6sH")
ARP_REQUEST, HARDWARE_ETHERNET, PROTOCOL_IPV4 = 1, 1, 0x0800
ICMPV6, ADVERTISEMENT, OVERRIDE, TARGET_MAC = 58, 136, 0x20000000, 2
HOPS: Final = 255  # any other value is not believed


def build_announcement(mac: bytes, ip: IPv4Address | IPv6Address) -> bytes:
    """Tell all neighbours that the address is at this MAC from now on."""
    if isinstance(ip, IPv4Address):
        return _arp(mac, sender=ip, target=ip)
    return _advertisement(mac, ip)


def build_probe(mac: bytes, ip: IPv4Address) -> bytes:
    """Ask all neighbours who has the address, without a word on who asks."""
    return _arp(mac, sender=NO_ADDRESS, target=ip)


def parse_claim(frame: bytes, mac: bytes, ip: IPv4Address) -> str:
    """The MAC of somebody else who has the address, or is about to take it; "" if it is not so."""
    if len(frame) < ETHERNET.size + ARP.size:
        return ""
    hardware, protocol, *sizes, _, sender_mac, sender, _, target = ARP.unpack_from(
        frame, ETHERNET.size
    )
    if (hardware, protocol, sizes) != (HARDWARE_ETHERNET, PROTOCOL_IPV4, [6, 4]):
        return ""
    has = sender == ip.packed
    asks = sender == NO_ADDRESS.packed and target == ip.packed
    return sender_mac.hex(":") if (has or asks) and sender_mac != mac else ""


def _arp(mac: bytes, *, sender: IPv4Address, target: IPv4Address) -> bytes:
    head = ETHERNET.pack(BROADCAST, mac, ETH_P_ARP)
    kinds = (HARDWARE_ETHERNET, PROTOCOL_IPV4, 6, 4, ARP_REQUEST)
    return head + ARP.pack(*kinds, mac, sender.packed, NOBODY, target.packed)


def _advertisement(mac: bytes, ip: IPv6Address) -> bytes:
    option = struct.pack("!BB6s", TARGET_MAC, 1, mac)
    body = struct.pack("!I16s", OVERRIDE, ip.packed) + option
    pseudo = ip.packed + ALL_NODES.packed + struct.pack("!II", 4 + len(body), ICMPV6)
    checksum = _checksum(pseudo + bytes([ADVERTISEMENT, 0, 0, 0]) + body)
    payload = struct.pack("!BBH", ADVERTISEMENT, 0, checksum) + body
    head = struct.pack("!IHBB", 6 << 28, len(payload), ICMPV6, HOPS)
    ethernet = ETHERNET.pack(ALL_NODES_MAC, mac, ETH_P_IPV6)
    return ethernet + head + ip.packed + ALL_NODES.packed + payload


def _checksum(data: bytes) -> int:
    """The internet checksum of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
