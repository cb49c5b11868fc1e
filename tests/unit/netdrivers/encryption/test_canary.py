"""What is judged of a known packet, and what the filters let pass. The wire: kernel ring.

Covers netdrivers/encryption/witness.py, netdrivers/encryption/canary.py,
netdrivers/kernel/packetfilter.py
"""

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from netdrivers.contract.encryption import Tunnel
from netdrivers.encryption import canary, witness
from tests.fakes.bpf import passes

TUNNELS = [Tunnel(port=4789, vni=vni) for vni in range(4097, 4997)] + [Tunnel(port=5000, vni=9)]
TOKEN = b"known" * 7
OUTER = {4: IP(src="192.0.2.1", dst="192.0.2.2"), 6: IPv6(src="fd00::1", dst="fd00::2")}
HOSTS = {4: ip_address("192.0.2.2"), 6: ip_address("fd00::2")}


def ether(version):
    return 0x0800 if version == 4 else 0x86DD


def vxlan(version, port, vni):
    return bytes(OUTER[version] / UDP(sport=1, dport=port) / VXLAN(vni=vni) / Raw(b"x" * 20))


@pytest.mark.parametrize("version", [4, 6])
def test_clear_vxlan_of_the_networks_passes_and_nothing_else(version):
    program = witness.build_filter(TUNNELS[:899] + TUNNELS[-1:])
    assert len(program) // 8 <= 4096  # what the kernel takes
    for port, vni, is_sought in (
        (4789, 4097, True), (4789, 4995, True), (5000, 9, True),
        (4789, 4096, False), (4789, 9, False), (5000, 4097, False), (4790, 4097, False),
    ):  # fmt: skip
        packet = vxlan(version, port, vni)
        assert passes(program, packet, ether(version)) is is_sought, (port, vni)
        assert not passes(program, packet, 0x0806)
    assert not passes(program, bytes(OUTER[version] / TCP(dport=4789)), ether(version))


def test_of_more_networks_than_the_kernel_takes_the_first_are_watched():
    program = witness.build_filter(Tunnel(port=4789, vni=n) for n in range(5000))
    assert len(program) // 8 <= 4096
    assert passes(program, vxlan(4, 4789, 899), 0x0800)


def test_a_later_fragment_has_no_header_to_read():
    packet = bytearray(vxlan(4, 4789, 4097))
    packet[7] = 5
    assert not passes(witness.build_filter(TUNNELS[:5]), bytes(packet), 0x0800)


@pytest.mark.parametrize("version", [4, 6])
def test_who_and_which_network_are_read_from_the_head(version):
    head = vxlan(version, 4789, 4100)[: witness.HEAD_BYTES]
    source, target, vni = witness.read_head(head)
    assert (target, vni) == (HOSTS[version].packed, 4100)
    assert source == ip_address(OUTER[version].src).packed


def sealed(version, size, payload=None):
    length = canary.sealed_bytes(size)
    body = canary.DATA + (payload or b"?" * (length - 8 - 4))
    return bytes(OUTER[version] / UDP(sport=51820, dport=51820) / Raw(body))


@pytest.mark.parametrize("version", [4, 6])
def test_the_one_packet_is_judged(version):
    host, length = HOSTS[version], canary.sealed_bytes(400)
    clear = bytes(OUTER[version] / UDP(dport=9) / Raw(TOKEN * 3))
    assert canary.judge([sealed(version, 400)], TOKEN, host, length) == "sealed"
    assert canary.judge([sealed(version, 400), clear], TOKEN, host, length) == "clear"
    assert canary.judge([], TOKEN, host, length) == ""
    assert canary.judge([sealed(version, 800)], TOKEN, host, length) == ""  # another one
    assert canary.judge([sealed(version, 400)], TOKEN, ip_address("192.0.2.9"), length) == ""
    handshake = sealed(version, 400).replace(canary.DATA, b"\1\0\0\0")
    assert canary.judge([handshake], TOKEN, host, length) == ""


@pytest.mark.parametrize("version", [4, 6])
def test_what_the_canary_looks_at(version):
    length = canary.sealed_bytes(400)
    program = canary.build_filter(51820, length)
    assert passes(program, sealed(version, 400), ether(version))
    assert not passes(program, sealed(version, 800), ether(version))
    clear = bytes(OUTER[version] / UDP(sport=7, dport=9) / Raw(TOKEN))
    assert passes(program, clear, ether(version))
    other = bytes(OUTER[version] / UDP(sport=7, dport=53) / Raw(b"x" * (length - 8)))
    assert not passes(program, other, ether(version))
