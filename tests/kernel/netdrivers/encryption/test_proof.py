"""Encryption is proven, not believed: known packets, and clear ones that must not be.

Covers netdrivers/encryption/witness.py, netdrivers/encryption/canary.py
"""

from ipaddress import ip_address

import pytest
import trio

from netdrivers.contract.encryption import Tunnel
from tests.kernel.netdrivers.encryption.test_wireguard import FORGE, both, pings, play

pytestmark = pytest.mark.timeout(120)
__all__ = ["both"]  # a fixture


async def counted(device, what):
    """Return once two packets are: one of IPv4, one of IPv6."""
    for _ in range(200):
        if getattr(await device.status(), what).get(4097, 0) >= 2:
            return
        await trio.sleep(0.05)
    raise AssertionError(f"not counted: {what}")


async def test_a_known_packet_is_seen_to_leave_encrypted_and_is_understood(both):
    await both.overlays()
    assert await pings(both.hosts[0], "a", "10.5.0.3")
    await both.devices[0].prove()
    proof = (await both.devices[0].status()).proofs[both.keys[1]]
    assert (proof.result, proof.answered) == ("sealed", True)
    both.hosts[0].lab.cut(1)
    try:
        await both.devices[0].prove()
        again = (await both.devices[0].status()).proofs[both.keys[1]]
        assert not again.answered
    finally:
        both.hosts[0].lab.heal(1)


async def test_without_a_way_there_is_no_proof(both):
    """The device is there and drops everything: what was proven once grows old."""
    first = both.hosts[0]
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    await both.devices[0].prove()
    before = (await both.devices[0].status()).proofs[both.keys[1]]
    first.inside("../sealed", "ip -6 route add blackhole fd6e:6164:6167::/48 metric 1")
    await both.devices[0].prove()
    assert (await both.devices[0].status()).proofs[both.keys[1]] == before


async def test_clear_packets_of_encrypted_networks_are_counted(both):
    first, second = both.hosts
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    device, tunnel = both.devices[0], Tunnel(port=4789, vni=4097)
    own = [ip_address("10.200.0.2"), ip_address("fd99:0::2")]
    await device.look_for(own, frozenset({tunnel}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.watch)
        first.lab.sh(first.name, "nft flush ruleset")  # it needs no rule
        play(second, FORGE)
        await counted(device, "came_clear")
        assert not (await device.status()).left_clear
        play(first, FORGE.replace("10.200.0.2", "10.200.1.2").replace("fd99:0::2", "fd99:1::2"))
        await counted(device, "left_clear")
        # of another network, and our own encrypted ones: nothing
        play(second, FORGE.replace("vni=4097", "vni=4098"))
        assert first.pings("a", "10.5.0.3")
        await trio.sleep(0.2)  # that would have been counted by now
        status = await device.status()
        assert (status.came_clear, status.left_clear) == ({4097: 2}, {4097: 2})
        await device.look_for(own, frozenset())  # its number may be a clear network's now
        play(second, FORGE)
        await trio.sleep(0.2)
        status = await device.status()
        assert (status.came_clear, status.left_clear) == ({0: 2}, {0: 2})
        nursery.cancel_scope.cancel()
