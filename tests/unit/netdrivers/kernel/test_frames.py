"""Frames as an independent decoder reads them, and hostile bytes."""

import logging
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from netdrivers.kernel.frames import build_announcement, build_probe, parse_claim

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether  # noqa: E402

MACS = st.binary(min_size=6, max_size=6)
V4 = st.ip_addresses(v=4)
OURS = bytes.fromhex("0242ac110002")


@given(MACS, V4)
def test_an_announcement_is_a_request_for_ones_own_address(mac, ip):
    frame = Ether(build_announcement(mac, ip))
    arp = frame[ARP]
    assert (frame.dst, frame.src, frame.type) == ("ff:ff:ff:ff:ff:ff", mac.hex(":"), 0x0806)
    assert (arp.op, arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (1, 1, 0x0800, 6, 4)
    assert (arp.psrc, arp.pdst, arp.hwsrc) == (str(ip), str(ip), mac.hex(":"))
    assert arp.hwdst == "00:00:00:00:00:00"


@given(MACS, V4)
def test_a_probe_says_nothing_of_the_asker(mac, ip):
    arp = Ether(build_probe(mac, ip))[ARP]
    assert (arp.op, arp.psrc, arp.pdst, arp.hwsrc) == (1, "0.0.0.0", str(ip), mac.hex(":"))


@given(MACS, st.ip_addresses(v=6))
def test_an_advertisement_overrides_what_neighbours_know(mac, ip):
    frame = Ether(build_announcement(mac, ip))
    packet, said = frame[IPv6], frame[ICMPv6ND_NA]
    assert (frame.dst, frame.src) == ("33:33:00:00:00:01", mac.hex(":"))
    assert (ip_address(packet.src), packet.dst, packet.hlim) == (ip, "ff02::1", 255)
    assert (said.R, said.S, said.O, ip_address(said.tgt)) == (0, 0, 1, ip)
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == mac.hex(":")
    sent = said.cksum
    del said.cksum  # scapy sums it up anew
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == sent


@given(MACS, V4, V4)
def test_who_has_or_asks_for_the_address_is_heard(mac, ip, other):
    says = mac.hex(":") if mac != OURS else ""
    assert parse_claim(build_announcement(mac, ip), OURS, ip) == says
    assert parse_claim(build_probe(mac, ip), OURS, ip) == says
    if other != ip:
        assert parse_claim(build_announcement(mac, other), OURS, ip) == ""
        assert parse_claim(build_probe(mac, other), OURS, ip) in {"", says if not int(ip) else ""}


@given(st.binary(max_size=80), V4)
def test_any_bytes_are_a_claim_or_none(data, ip):
    assert isinstance(parse_claim(data, OURS, ip), str)
