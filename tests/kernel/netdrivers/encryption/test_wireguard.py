"""Encrypted overlays with a real WireGuard, the kernel's or wireguard-go: what is on the wire.

Covers netdrivers/encryption/child.py, netdrivers/kernel/sealed.py
"""

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from netdrivers.contract.encryption import PeerSpec
from netdrivers.contract.specs import OverlaySpec
from netdrivers.encryption.keys import address_of, public_key
from netdrivers.encryption.wireguard import Place, WireGuard
from netdrivers.errors import Refused, Unavailable
from netdrivers.kernel.netns import Libc
from tests.fakes.capture import Capture
from tests.fakes.lab import Lab
from tests.kernel.netdrivers.test_overlay import Host, hosts, pair

pytestmark = pytest.mark.timeout(120)
PYTHON = (sys.executable, "-I")
SECRET = b"no-byte-of-this-may-be-seen"


class Sealing:
    """Two or three hosts with engines and devices."""

    def __init__(self, made: list[Host]) -> None:
        self.hosts = made
        self.former: list[WireGuard] = []
        self.devices = [self.device(host) for host in made]

    @staticmethod
    def device(host: Host) -> WireGuard:
        place = Place(key_file=host.run / "keys" / "wireguard.key", run=host.run,
                      agent_id=f"t{host.n}")  # fmt: skip
        return WireGuard(place)

    async def start(self) -> None:
        keys = []
        for host, device in zip(self.hosts, self.devices, strict=True):
            with host.lab.inside(host.name):
                keys.append(await device.key())
        self.peers = {
            key: PeerSpec(key=key, host=ip_address(host.lab.address(host.n)), port=51820)
            for key, host in zip(keys, self.hosts, strict=True)
        }
        self.keys = keys
        for n in range(len(self.hosts)):
            await self.apply(n)

    async def apply(self, n: int) -> None:
        # a child is started where the thread is; so is the agent's own
        with self.hosts[n].lab.inside(self.hosts[n].name):
            await self.devices[n].apply(dict(self.peers))
            await self.devices[n].mend()

    async def overlays(self) -> None:
        """Container a on the first host, b on the second, on a sealed overlay."""
        for n, host in enumerate(self.hosts):
            host.network()
            vtep = address_of(self.keys[n])
            overlay = OverlaySpec(vni=4097, vtep=vtep)
            net = replace(host.net, mtu_bytes=1350, overlay=overlay)
            host.world.networks[net.id] = net
            host.container("ab"[n], 2 + n)
        self.hosts[0].know(self.hosts[1])
        self.hosts[1].know(self.hosts[0])
        for host in self.hosts:
            await host.apply()

    async def close(self) -> None:
        for host, device in zip(self.hosts, self.devices, strict=True):
            with host.lab.inside(host.name):
                await device.remove()
            await device.close()
        for device in self.former:
            await device._child.wait_exit()  # its process was ended by its successor


@asynccontextmanager
async def sealing(tmp_path: Path):
    async with hosts(tmp_path, 2) as made:
        both = Sealing(made)
        try:
            await both.start()
            yield both
        finally:
            with trio.CancelScope(shield=True):
                await both.close()


@pytest.fixture
async def both(tmp_path):
    async with sealing(tmp_path) as made:
        yield made


async def pings(host: Host, name: str, address: str) -> bool:
    """A device takes a second to see that it is up, and a first packet makes the handshake."""
    for _ in range(40):
        if host.pings(name, address, f"-p {SECRET[:16].hex()}"):
            return True
        await trio.sleep(0.1)
    return False


def capture(host: Host, name: str = "wire.pcap") -> Capture:
    return Capture(host.lab.enter(host.name), "up0", host.run / name)


async def test_containers_speak_and_nothing_of_it_is_seen(both):
    first, second = both.hosts
    await both.overlays()
    wire = capture(first)
    assert await pings(first, "a", "10.5.0.3")
    assert await pings(second, "b", "10.5.0.2")
    assert first.pings("a", "10.5.0.3", "-M do -s 1322")  # as large as the link says
    seen = wire.stop()
    assert "> 10.200.1.2.51820: UDP" in seen
    assert "4789" not in seen
    assert "10.5.0." not in seen
    assert not wire.has(SECRET[:16], bytes.fromhex("0242000061"))  # payload, MACs of endpoints
    status = await both.devices[0].status()
    peer = status.peers[both.keys[1]]
    assert not status.problem
    assert peer.handshake_s > 0
    assert min(peer.rx_bytes, peer.tx_bytes) > 0


# from the right host, for the right VNI, MAC and address
FORGE = """
from scapy.all import *
from scapy.layers.vxlan import VXLAN
inner = Ether(dst="02:42:00:00:61:02", src="02:42:00:00:61:03")
inner = inner / IP(src="10.5.0.3", dst="10.5.0.2") / UDP(sport=9, dport=9) / b"forged"
for outer in IP(dst="10.200.0.2"), IPv6(dst="fd99:0::2"):
    send(outer / UDP(sport=4789, dport=4789) / VXLAN(vni=4097, flags=8) / inner, verbose=0)
"""
REPLAY = """
import sys
from scapy.all import *
for packet in rdpcap(sys.argv[1]):
    send(packet[IP], verbose=0)
"""


def play(host: Host, script: str, *words: object) -> None:
    """Run a script that sends packets, on a host."""
    command = [*host.lab.enter(host.name), *PYTHON, "-c", script, *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def listen_in(host: Host, name: str, expression: str) -> Capture:
    enter = ["nsenter", f"--net={host.run}/netns/{name}"]
    return Capture(enter, "eth0", host.run / f"{name}.pcap", expression)


async def test_a_clear_packet_reaches_nobody_also_without_any_rule(both):
    first, second = both.hosts
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    first.lab.sh(first.name, "nft flush ruleset")
    inner = listen_in(first, "a", "udp port 9")
    play(second, FORGE)
    assert await pings(first, "a", "10.5.0.3")
    assert inner.stop() == ""


async def test_the_same_packet_reaches_a_clear_overlay(tmp_path):
    async with hosts(tmp_path, 2) as two:
        first, second = await pair(two)
        assert first.pings("a", "10.5.0.3")
        inner = listen_in(first, "a", "udp port 9")
        play(second, FORGE)
        assert first.pings("a", "10.5.0.3")
        assert "10.5.0.3.9 > 10.5.0.2.9" in inner.stop()


async def test_the_child_dies_and_nothing_is_sent_until_it_is_back(both):
    device, first = both.devices[0], both.hosts[0]
    if (await device.status()).backend != "wireguard-go":
        pytest.skip("the kernel has WireGuard: there is no child that could die")
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    wire = capture(first)
    os.kill(device._child._pid, signal.SIGKILL)
    await device._child.wait_exit()
    assert not first.pings("a", "10.5.0.3", f"-p {SECRET[:16].hex()}")
    await both.apply(0)
    assert await pings(first, "a", "10.5.0.3")
    assert "4789" not in wire.stop()
    assert not wire.has(SECRET[:16])
    assert (await device.status()).restarts == 1


async def test_another_agent_takes_the_device_over_as_it_is(both):
    first = both.hosts[0]
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    before = await both.devices[0].status()
    await both.devices[0].close()
    both.former.append(both.devices[0])
    both.devices[0] = both.device(first)
    with first.lab.inside(first.name):
        assert await both.devices[0].key() == both.keys[0]
    await both.apply(0)
    after = await both.devices[0].status()
    assert after.peers[both.keys[1]].handshake_s == before.peers[both.keys[1]].handshake_s
    assert first.pings("a", "10.5.0.3")


async def test_who_the_others_are_is_kept_while_nobody_says_it(both):
    """An agent that starts while the cluster is silent; then its child dies."""
    first = both.hosts[0]
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    await both.devices[0].close()
    both.former.append(both.devices[0])
    device = both.devices[0] = both.device(first)
    with first.lab.inside(first.name):
        await device.apply(None)
    assert set((await device.status()).peers) == {both.keys[1]}
    assert first.pings("a", "10.5.0.3")
    if (await device.status()).backend == "wireguard-go":
        os.kill(device._child._pid, signal.SIGKILL)
        await device._child.wait_exit()
        with first.lab.inside(first.name):
            await device.mend()
        assert await pings(first, "a", "10.5.0.3")
    with first.lab.inside(first.name):
        await device.apply({})  # now somebody says that there is nobody
    assert not (await device.status()).peers


DAMAGE = {
    "device": "ip link del wg-t0",
    "down": "ip link set wg-t0 down",
    "address": "ip addr flush dev wg-t0",
    "route": "ip -6 route flush dev wg-t0",
    "mtu": "ip link set wg-t0 mtu 1300",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_mended(both, damage):
    first = both.hosts[0]
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    first.inside("../sealed", DAMAGE[damage])
    await both.apply(0)
    if damage == "device":  # what was made of it goes with it
        await first.apply()
    assert await pings(first, "a", "10.5.0.3")


async def test_a_peer_that_is_no_more_is_not_spoken_to(both):
    first = both.hosts[0]
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    with first.lab.inside(first.name):
        await both.devices[0].apply({})
    assert not first.pings("a", "10.5.0.3")
    assert (await both.devices[0].status()).peers == {}


async def test_a_peer_that_moved_is_found(both):
    first, second = both.hosts
    await both.overlays()
    assert await pings(first, "a", "10.5.0.3")
    second.lab.sh(
        second.name,
        "ip addr del 10.200.1.2/24 dev up0; ip addr add 10.200.1.77/24 dev up0;"
        " ip route replace default via 10.200.1.1",
    )
    both.peers[both.keys[1]] = PeerSpec(
        key=both.keys[1], host=ip_address("10.200.1.77"), port=51820
    )
    for n in (0, 1):
        await both.apply(n)
    assert await pings(first, "a", "10.5.0.3")


async def test_replayed_packets_are_thrown_away(both):
    first, second = both.hosts
    await both.overlays()
    assert await pings(second, "b", "10.5.0.2")
    wire = Capture(first.lab.enter(first.name), "up0", first.run / "replay.pcap",
                   "src 10.200.1.2 and udp port 51820")  # fmt: skip
    assert await pings(second, "b", "10.5.0.2")
    wire.stop()
    inner = listen_in(first, "a", "icmp")
    play(second, REPLAY, wire.file)
    assert not first.pings("a", "10.5.0.77")  # what had been on its way would be here now
    assert "10.5.0.3 >" not in inner.stop()


async def test_a_key_that_is_damaged_is_said_and_kept(tmp_path):
    key = tmp_path / "wireguard.key"
    key.write_text("not a key\n")
    device = WireGuard(Place(key_file=key, run=tmp_path, agent_id="t0"))
    with pytest.raises(Refused, match="cannot be read"):
        await device.key()
    assert "cannot be read" in (await device.status()).problem
    assert key.read_text() == "not a key\n"


async def test_a_key_that_is_lost_is_not_replaced(tmp_path):
    place = Place(key_file=tmp_path / "wireguard.key", run=tmp_path, agent_id="t0")
    device = WireGuard(place)
    await device.key()
    await device.close()
    place.key_file.unlink()
    with pytest.raises(Refused, match="is gone"):
        await device.key()
    assert "is gone" in (await device.status()).problem
    place.key_file.with_suffix(".pub").unlink()
    await device.key()
    await device.close()


async def test_it_is_not_tried_all_the_time(tmp_path, monkeypatch):
    tries = []

    async def fail(_self):
        tries.append(trio.current_time())
        raise Refused("not today")

    monkeypatch.setattr(WireGuard, "_ensure", fail)
    device = WireGuard(Place(key_file=tmp_path / "key", run=tmp_path, agent_id="t0"))
    with pytest.raises(Refused):
        await device.apply({})
    with trio.move_on_after(1):
        await device.run()
    assert len(tries) == 2


async def test_without_the_program_it_says_what_to_install(tmp_path, monkeypatch):
    lab = Lab(1)
    monkeypatch.setenv("PATH", "/nonexistent")
    device = WireGuard(Place(key_file=tmp_path / "key", run=tmp_path, agent_id="t0", kernel=False))
    try:
        with lab.inside(lab.hosts[0]):
            await device.key()
            with pytest.raises(Unavailable, match="not installed"):
                await device.apply({})
        assert "not installed" in (await device.status()).problem
    finally:
        await device.close()
        Libc().unmount(tmp_path / "sealed")
        monkeypatch.undo()
        lab.close()


async def test_many_peers(both):
    device = both.devices[0]
    keys = [public_key((n + 1).to_bytes(32, "big")) for n in range(300)]
    peers = {
        key: PeerSpec(key=key, host=ip_address(f"10.{n >> 8}.{n & 255}.1"), port=51820)
        for n, key in enumerate(keys)
    }
    with both.hosts[0].lab.inside(both.hosts[0].name):
        await device.apply(peers)
        assert set((await device.status()).peers) == set(keys)
        await device.apply(dict(list(peers.items())[:10]))
    assert set((await device.status()).peers) == set(keys[:10])
