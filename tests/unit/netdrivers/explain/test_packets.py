"""Probe packets: what is built is what others read, and what comes back is understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6PacketTooBig, IPv6
from scapy.packet import Raw

from netdrivers.explain.errand import Errand
from netdrivers.explain.packets import build_packet, read_packet

TAG = 61234
FOUR, SIX = ("10.1.0.2", "10.1.0.3"), ("fd00::2", "fd00::3")


def errand(ips=FOUR, protocol="tcp", big_bytes=1500) -> Errand:
    return Errand(
        spaces=[], source=ips[0], target=ips[1], protocol=protocol, port=80, tag=TAG,
        big_bytes=big_bytes,
    )  # fmt: skip


@pytest.mark.parametrize("ips", [FOUR, SIX])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
@pytest.mark.parametrize("big", [False, True])
def test_own_packets_are_known_again(ips, protocol, big) -> None:
    raw = build_packet(errand(ips, protocol), big=big)
    assert (len(raw) == 1500) is big
    assert read_packet(raw, TAG) == ("probe", big, f"{ips[0]} to {ips[1]}")
    assert read_packet(raw, TAG + 2) is None


def test_it_is_not_to_be_cut() -> None:
    packet = IP(build_packet(errand(), big=True))
    assert packet.flags.DF
    assert (packet[TCP].flags, packet[TCP].dport, packet[TCP].sport) == ("S", 80, TAG + 1)


@pytest.mark.parametrize(
    ("packet", "says"),
    [
        (IP() / TCP(sport=80, dport=TAG, flags="SA"), "connection accepted"),
        (IP() / TCP(sport=80, dport=TAG, flags="RA"), "connection refused"),
        (IP() / UDP(sport=80, dport=TAG) / Raw(b"four"), "a datagram of 4 bytes"),
        (IP() / ICMP(type=0, id=TAG), "echo reply"),
        (IPv6() / TCP(sport=80, dport=TAG, flags="SA"), "connection accepted"),
        (IPv6() / ICMPv6EchoReply(id=TAG), "echo reply"),
    ],
)
def test_answers(packet, says) -> None:
    assert read_packet(bytes(packet), TAG) == ("reply", False, says)
    assert read_packet(bytes(packet), TAG - 2) is None


def test_errors_say_who_and_what() -> None:
    about = build_packet(errand(), big=True)[:28]
    error = IP(src="10.1.0.1") / ICMP(type=3, code=4, nexthopmtu=1300) / Raw(about)
    assert read_packet(bytes(error), TAG) == (
        "error", True, "fragmentation needed, says 10.1.0.1 (MTU 1300)",
    )  # fmt: skip
    unknown = IP(src="10.1.0.1") / ICMP(type=3, code=15) / Raw(about)
    assert read_packet(bytes(unknown), TAG) == ("error", True, "type 3 code 15, says 10.1.0.1")
    about = build_packet(errand(SIX), big=False)
    error = IPv6(src="fd00::1") / ICMPv6PacketTooBig(mtu=1280) / Raw(about)
    assert read_packet(bytes(error), TAG) == (
        "error", False, "packet too big, says fd00::1 (MTU 1280)",
    )  # fmt: skip
    strange = IP(src="10.1.0.1") / ICMP(type=3, code=1) / Raw(bytes(28))
    assert read_packet(bytes(strange), TAG) is None


@given(st.binary(max_size=80), st.sampled_from([0x45, 0x60]))
def test_any_bytes_are_read(data, first) -> None:
    read_packet(bytes([first]) + data, TAG)
    read_packet(build_packet(errand(), big=False)[:20] + data, TAG)


def test_nothing_is_nobodys() -> None:
    assert read_packet(b"", TAG) is None
