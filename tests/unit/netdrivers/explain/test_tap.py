"""The filter of the tap, run here by a machine of its own."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, IPv6
from scapy.packet import Raw

from netdrivers.explain.errand import Errand
from netdrivers.explain.packets import build_packet, read_packet
from netdrivers.explain.tap import build_filter
from tests.fakes.bpf import passes

TAG = 61234


def errand(version, protocol) -> Errand:
    ips = ("10.1.0.2", "10.1.0.3") if version == 4 else ("fd00::2", "fd00::3")
    return Errand(
        spaces=[], source=ips[0], target=ips[1], protocol=protocol, port=80, tag=TAG,
        big_bytes=1500,
    )  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_own_packets_pass_and_those_of_others_do_not(version, protocol) -> None:
    ether = 0x0800 if version == 4 else 0x86DD
    for big in (False, True):
        packet = build_packet(errand(version, protocol), big=big)
        assert passes(build_filter(version, protocol, TAG), packet, ether)
        assert not passes(build_filter(version, protocol, TAG + 2), packet, ether)
        assert not passes(build_filter(version, protocol, TAG), packet, 0x0806)


@pytest.mark.parametrize(
    ("version", "protocol", "packet"),
    [
        (4, "tcp", IP() / TCP(sport=80, dport=TAG, flags="SA")),
        (4, "udp", IP() / UDP(sport=80, dport=TAG + 1)),
        (4, "icmp", IP() / ICMP(type=0, id=TAG)),
        (6, "tcp", IPv6() / TCP(sport=80, dport=TAG, flags="SA")),
        (6, "udp", IPv6() / UDP(sport=80, dport=TAG)),
        (6, "icmp", IPv6() / ICMPv6EchoReply(id=TAG + 1)),
    ],
)
def test_answers_pass(version, protocol, packet) -> None:
    ether = 0x0800 if version == 4 else 0x86DD
    assert passes(build_filter(version, protocol, TAG), bytes(packet), ether)
    assert read_packet(bytes(packet), TAG) is not None
    assert not passes(build_filter(version, protocol, TAG - 4), bytes(packet), ether)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_errors_about_own_packets_pass(protocol) -> None:
    about = build_packet(errand(4, protocol), big=False)
    error = bytes(IP() / ICMP(type=3, code=1) / Raw(about))
    assert passes(build_filter(4, protocol, TAG), error, 0x0800)
    assert not passes(build_filter(4, protocol, TAG + 2), error, 0x0800)
    about = build_packet(errand(6, protocol), big=False)
    error = bytes(IPv6() / ICMPv6DestUnreach() / Raw(about))
    assert passes(build_filter(6, protocol, TAG), error, 0x86DD)
    assert not passes(build_filter(6, protocol, TAG + 2), error, 0x86DD)
