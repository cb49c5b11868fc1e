"""Neighbours hear of new addresses, and a neighbour's address is not taken from it."""

import socket
import struct
import time
from contextlib import suppress
from ipaddress import ip_address
from itertools import pairwise

import pytest
import trio

from netdrivers.contract.specs import Desired
from netdrivers.kernel.announce import Announcer, Claim
from tests.fakes.world import scope

ALL = 0x0300  # ETH_P_ALL in network order
LOOKS, LOOK_S = 160, 0.05


@pytest.fixture
async def telling(engine, nursery):
    nursery.start_soon(engine.run)
    return engine


class Ear:
    """Hears frames on a link and keeps those of one address that tell of it."""

    def __init__(self, host, ns, link, ip):
        with host.inside(ns):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ALL)
        self._sock.bind((link, 0x0003))
        self._sock.setblocking(False)
        self._ip = ip_address(ip).packed
        self.heard = []

    def close(self):
        self._sock.close()

    def listen(self):
        with suppress(BlockingIOError):
            while True:
                frame = self._sock.recv(2048)
                kind = struct.unpack("!H", frame[12:14])[0]
                arp = kind == 0x0806 and frame[28:32] == frame[38:42] == self._ip
                na = kind == 0x86DD and frame[54:55] == b"\x88" and frame[62:78] == self._ip
                if arp or (na and frame[58] & 0x20):
                    self.heard.append((time.monotonic(), frame[6:12].hex(":")))
        return len(self.heard)


async def until(look, wanted):
    for _ in range(LOOKS):
        if look() >= wanted:
            return
        await trio.sleep(LOOK_S)
    pytest.fail(f"{look()} of {wanted}")


@pytest.mark.parametrize(
    ("subnet", "ip"), [("10.1.0.0/24", "10.1.0.2"), ("fd00:a::/64", "fd00:a::2")]
)
async def test_neighbours_on_a_bridge_hear_three_times_a_second_apart(
    host, telling, world, subnet, ip
):
    net = world.network("a", subnet)
    await telling.apply(world.desired, scope(networks=(net,)))
    ear = Ear(host, host.home, "br-aaaaaaaaaaaa", ip)
    ep = world.endpoints[world.container("a", net, 2)]
    await telling.apply(world.desired, scope("a"))
    await until(ear.listen, 3)
    ear.close()
    times = [at for at, _ in ear.heard]
    assert {mac for _, mac in ear.heard} == {ep.mac}
    assert all(0.5 < late - early < 2.5 for early, late in pairwise(times))


async def test_a_neighbours_cache_follows_an_address_that_moved(host, telling, world, run_dir):
    net = world.network("a", "10.1.0.0/24", "fd00:a::/64")
    world.container("a", net, 2)
    world.container("b", net, 3)
    await telling.apply(world.desired, None)
    b = run_dir / "netns" / "b"
    with host.inside(b):
        for old in ("10.1.0.2", "fd00:a::2"):
            host.sh(f"ip neigh replace {old} lladdr 02:00:00:00:00:99 dev eth0 nud stale")
    world.remove("a")
    await telling.apply(world.desired, scope("a"))
    ep = world.endpoints[world.container("c", net, 2)]
    await telling.apply(world.desired, scope("c"))

    def followed():
        with host.inside(b):
            return host.sh("ip neigh show dev eth0").count(ep.mac)

    await until(followed, 2)


async def test_the_wire_hears_of_both_families(host, telling, world):
    net = world.macvlan("e", "198.51.100.0/24", "2001:db8::/64")
    ears = [Ear(host, host.outside, "up1", ip) for ip in ("198.51.100.20", "2001:db8::14")]
    world.container("a", net, 20)
    await telling.apply(world.desired, None)
    for ear in ears:
        await until(ear.listen, 3)
        ear.close()


async def test_an_address_a_neighbour_has_is_reported_and_not_announced(host, telling, world):
    with host.inside(host.outside):
        host.sh("ip addr add 198.51.100.20/24 dev up1")
        theirs = host.sh("cat /sys/class/net/up1/address || true").strip()
    ear = Ear(host, host.outside, "up1", "198.51.100.20")
    world.container("a", world.macvlan("e", "198.51.100.0/24"), 20)
    await telling.apply(world.desired, None)
    announcer = telling._announcer
    await until(lambda: len(announcer.doubled), 1)
    report = await telling.apply(world.desired, None)
    assert report.ops == ()
    (note,) = report.conflicts
    assert "198.51.100.20 in sandbox a is in use by a neighbour" in note
    assert theirs in note
    assert ear.listen() == 0
    ear.close()
    assert (await telling.apply(Desired(), None)).conflicts == ()


async def test_what_went_meanwhile_is_not_told_and_harms_nobody(host, telling, world):
    net = world.network("a", "10.1.0.0/24")
    for n in range(5):
        world.container(f"c{n}", net, 2 + n)
    await telling.apply(world.desired, None)
    await telling.apply(Desired(), None)
    world.container("last", net, 9)
    await telling.apply(Desired(networks=world.networks), None)
    ear = Ear(host, host.home, "br-aaaaaaaaaaaa", "10.1.0.9")
    await telling.apply(world.desired, scope("last"))
    await until(ear.listen, 1)
    ear.close()


async def test_a_flood_is_bounded_and_counted(engine):
    announcer = Announcer(lambda: engine._linux.access)
    claim = Claim(sandbox="none", link="eth0", ip=ip_address("10.1.0.2"))
    for _ in range(2000):
        announcer.add((claim,))
    assert announcer.dropped == 2000 - 1024
