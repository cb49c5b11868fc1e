"""Overlays over a routed underlay: who reaches whom, what goes over the wire, what is mended.

Covers netdrivers/kernel/vxlans.py, netdrivers/plan/tunnels.py
"""

import os
import socket
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from netdrivers.contract.specs import Desired, OverlaySpec, RemoteEndpoint
from netdrivers.engine import Engine
from netdrivers.errors import Refused
from netdrivers.kernel.netns import HERE, Libc, open_fd
from tests.fakes.capture import Capture
from tests.fakes.lab import Lab
from tests.fakes.world import World, scope

pytestmark = pytest.mark.timeout(120)
SUBNETS = ("10.5.0.0/24", "fd00:5::/64")
VNI = 4097


class Host:
    """An engine in a namespace of the lab, and what it is to make."""

    def __init__(self, lab: Lab, n: int, run: Path) -> None:
        self.lab, self.n, self.run = lab, n, run
        self.name = lab.hosts[n]
        self.world = World()
        self.engine = Engine(run, agent_id=f"t{n}")

    def network(self, version: int = 4, **fields) -> None:
        overlay = OverlaySpec(vni=VNI, vtep=ip_address(self.lab.address(self.n, version)),
                              sealed=False)  # fmt: skip
        self.world.network(
            "a", *SUBNETS, driver="overlay", mtu_bytes=1430, overlay=overlay, **fields
        )

    @property
    def net(self):
        return self.world.networks["a" * 64]

    def container(self, name: str, number: int, *ports: str) -> None:
        self.world.container(name, self.net, number, *ports)

    def know(self, *others: "Host", multicast: bool = False) -> None:
        """Tell it of the endpoints of others."""
        remotes = tuple(
            RemoteEndpoint(
                mac=ep.mac,
                addresses=tuple(ip.ip for ip in ep.addresses),
                vtep=each.net.overlay.vtep,
            )
            for each in others
            for ep in each.world.endpoints.values()
        )
        overlay = replace(self.net.overlay, remotes=remotes, multicast=multicast)
        self.world.networks[self.net.id] = replace(self.net, overlay=overlay)

    async def apply(self) -> None:
        await self.engine.apply(self.world.desired, None)
        assert (await self.engine.apply(self.world.desired, None)).ops == ()

    def inside(self, name: str, script: str, *, check: bool = True) -> str:
        done = subprocess.run(
            ["nsenter", f"--net={self.run}/netns/{name}", "/bin/sh", "-ec", script],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done.stdout

    def pings(self, name: str, address: str, *more: str) -> bool:
        words = " ".join(more)
        out = self.inside(name, f"ping -n -c1 -W1 {words} {address}", check=False)
        return " 0% packet loss" in out


@asynccontextmanager
async def hosts(tmp_path: Path, count: int, *, mtu: int = 1500):
    lab = Lab(count, mtu=mtu)
    made = [Host(lab, n, tmp_path / f"run{n}") for n in range(count)]
    try:
        for host in made:
            host.run.mkdir()
            with lab.inside(host.name):
                await host.engine.open()
        yield made
    finally:
        with trio.CancelScope(shield=True):
            for host in made:
                if host.run.exists():
                    await host.engine.apply(Desired(), None)
                    await host.engine.close()
        libc = Libc()
        for host in made:
            for pin in (host.run / "netns").glob("*"):
                libc.unmount(pin)
        lab.close()


@pytest.fixture
async def two(tmp_path):
    async with hosts(tmp_path, 2) as made:
        yield made


async def pair(two, version: int = 4, **fields):
    """Container a on the first host, b on the second; each host knows of the other's."""
    first, second = two
    for host in two:
        host.network(version, **fields)
    first.container("a", 2)
    second.container("b", 3)
    first.know(second)
    second.know(first)
    for host in two:
        await host.apply()
    return first, second


@pytest.mark.parametrize("version", [4, 6])
async def test_containers_of_two_hosts_are_neighbours(two, version):
    first, second = await pair(two, version)
    assert first.pings("a", "10.5.0.3")
    assert first.pings("a", "fd00:5::3")
    assert second.pings("b", "10.5.0.2")
    # with Don't Fragment, as large as the link says it can be
    assert first.pings("a", "10.5.0.3", "-M do -s 1402")
    assert not first.pings("a", "10.5.0.3", "-M do -s 1403")


def ask(host: Host, name: str, address: str) -> subprocess.Popen[bytes]:
    """One echo request whose answer may be long in coming."""
    words = ["nsenter", f"--net={host.run}/netns/{name}", "ping", "-n", "-c1", "-W20", address]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


async def test_who_asked_too_soon_is_told(two):
    """A container asks for an address that is not there yet, and would not ask again."""
    first, second = two
    for host in two:
        host.network()
    first.container("a", 2)
    await first.apply()
    slow = "mcast_solicit=1 net.ipv{0}.neigh.eth0.retrans_time_ms=60000"
    for version in (4, 6):
        first.inside("a", f"sysctl -qw net.ipv{version}.neigh.eth0.{slow.format(version)}")
    asking = [ask(first, "a", address) for address in ("10.5.0.3", "fd00:5::3")]
    for _ in range(500):
        if first.inside("a", "ip neigh show dev eth0").count("INCOMPLETE") == 2:
            break
        await trio.sleep(0.02)
    else:
        raise AssertionError("it does not wait")
    second.container("b", 3)
    first.know(second)
    second.know(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.engine.run)
        await second.apply()
        await first.apply()
        for each in asking:
            said, _ = await trio.to_thread.run_sync(each.communicate)
            assert b" 0% packet loss" in said
        nursery.cancel_scope.cancel()


async def test_arp_is_answered_here_and_nothing_unknown_leaves(two):
    first, _ = await pair(two)
    capture = Capture(first.lab.enter(first.name), "up0", first.run / "wire.pcap", "udp port 4789")
    first.inside("a", "ip neigh flush all")
    assert first.pings("a", "10.5.0.3")
    assert not first.pings("a", "10.5.0.77")  # nobody has it: no question goes over the wire
    first.inside("a", "ping -n -c1 -W1 -b 10.5.0.255 || true; ping -n -c1 -W1 224.0.0.1 || true")
    seen = capture.stop()
    assert "10.5.0.2 > 10.5.0.3: ICMP echo request" in seen
    assert "ARP" not in seen
    assert "10.5.0.77" not in seen
    assert "10.5.0.255" not in seen
    assert "224.0.0.1" not in seen


async def test_what_is_for_all_goes_to_every_host_if_asked_for(two):
    first, second = await pair(two)
    first.know(second, multicast=True)
    await first.apply()
    enter = ["nsenter", f"--net={second.run}/netns/b"]
    capture = Capture(enter, "eth0", second.run / "b.pcap", "icmp and dst 224.0.0.1")
    first.inside("a", "ping -n -c3 -i0.2 -W1 224.0.0.1 || true")
    assert "10.5.0.2 > 224.0.0.1" in capture.stop()


async def test_an_endpoint_comes_moves_and_goes(tmp_path):
    async with hosts(tmp_path, 3) as three:
        first, second, third = three
        await pair((first, second))
        third.network()
        await third.apply()
        del second.world.endpoints[next(iter(second.world.endpoints))]
        del second.world.sandboxes["b"]
        third.container("b", 3)
        first.know(third)
        third.know(first)
        for host in three:
            await host.apply()
        assert first.pings("a", "10.5.0.3")
        first.know()
        await first.apply()
        first.inside("a", "ip neigh flush all")
        assert not first.pings("a", "10.5.0.3")


async def test_the_outside_and_ports_work_as_on_a_bridge(two):
    first, second = two
    for host in two:
        host.network()
    first.container("a", 2, "tcp:0.0.0.0:8080:80")
    second.container("b", 3)
    first.know(second)
    second.know(first)
    for host in two:
        await host.apply()
    router = first.lab.router
    assert first.pings("a", "10.200.0.1")  # the router, outside
    assert second.pings("b", "10.200.1.1")
    server = listen(first, "a", 80)
    with server:
        assert connects(first.lab, router, "10.200.0.2", 8080)
        assert not connects(first.lab, router, "10.5.0.2", 80)
        assert connects_from(second, "b", "10.200.0.2", 8080)  # the port of the other host


async def test_an_internal_overlay_has_no_way_out(two):
    first, _ = await pair(two, internal=True)
    assert first.pings("a", "10.5.0.3")
    assert not first.pings("a", "10.200.0.1")


async def test_another_overlay_is_apart(two):
    first, _ = await pair(two)
    net = first.world.network(
        "b", "10.6.0.0/24", driver="overlay",
        overlay=OverlaySpec(vni=VNI + 1, vtep=ip_address(first.lab.address(0)), sealed=False),
    )  # fmt: skip
    first.world.container("x", net, 2)
    await first.apply()
    assert first.pings("x", "10.6.0.1")
    assert not first.pings("x", "10.5.0.2")
    assert not first.pings("x", "10.5.0.3")


DAMAGE = {
    "tunnel": "ip link del vx-aaaaaaaaaaaa",
    "tunnel down": "ip link set vx-aaaaaaaaaaaa down",
    "tunnel off its bridge": "ip link set vx-aaaaaaaaaaaa nomaster",
    "mtu": "ip link set vx-aaaaaaaaaaaa mtu 1300",
    "learning": "ip link del vx-aaaaaaaaaaaa; ip link add vx-aaaaaaaaaaaa type vxlan id 4097 "
    "local 10.200.0.2 dstport 4789; ip link set vx-aaaaaaaaaaaa alias nodeagent:t0:" + "a" * 64,
    "host of an endpoint": "bridge fdb del 02:42:00:00:61:03 dev vx-aaaaaaaaaaaa self",
    "another host": "bridge fdb replace 02:42:00:00:61:03 dst 10.200.9.9 dev vx-aaaaaaaaaaaa self",
    "neighbour": "ip neigh del 10.5.0.3 dev vx-aaaaaaaaaaaa",
    "another neighbour": "ip neigh replace fd00:5::3 lladdr 02:00:00:00:00:09 dev vx-aaaaaaaaaaaa",
    "somebody": "bridge fdb append 00:00:00:00:00:00 dst 10.200.9.9 dev vx-aaaaaaaaaaaa self",
    "bridge": "ip link del br-aaaaaaaaaaaa",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_mended(two, damage):
    first, _ = await pair(two)
    first.lab.sh(first.name, DAMAGE[damage])
    assert (await first.engine.apply(first.world.desired, None)).ops
    assert (await first.engine.apply(first.world.desired, None)).ops == ()
    assert first.pings("a", "10.5.0.3")
    assert first.pings("a", "fd00:5::3")


@pytest.mark.parametrize("damage", ["host of an endpoint", "neighbour", "somebody"])
async def test_a_look_is_woken_and_believes_no_memory(two, damage):
    first, _ = await pair(two)
    assert (await first.engine.look(first.world.desired, fresh=False)).ops == ()
    with trio.move_on_after(1.5):  # until all is said of what was made
        while True:
            await first.engine.wait_change()
    assert (await first.engine.look(first.world.desired, fresh=False)).ops == ()
    first.lab.sh(first.name, DAMAGE[damage])
    with trio.fail_after(2):
        await first.engine.wait_change()
    assert (await first.engine.look(first.world.desired, fresh=False)).ops


async def test_a_stranger_in_the_way_is_a_conflict(two):
    first, _ = two
    first.network()
    first.lab.sh(first.name, "ip link add vx-aaaaaaaaaaaa type bridge")
    with pytest.raises(Exception, match="not ours"):
        await first.engine.apply(first.world.desired, scope(networks=(first.net,)))


async def test_sealed_without_a_way_out_sends_nothing(two):
    first, _ = two
    first.network()
    overlay = replace(first.net.overlay, sealed=True, vtep=ip_address("fd12::1"))
    first.world.networks[first.net.id] = replace(first.net, overlay=overlay)
    with pytest.raises(Refused, match="nothing is sent"):
        await first.engine.apply(first.world.desired, scope(networks=(first.net,)))
    assert "vx-" not in first.lab.sh(first.name, "ip link")


async def test_ten_thousand_endpoints_of_others(two):
    first, _ = two
    first.network()
    base = ip_address("10.64.0.0")
    remotes = tuple(
        RemoteEndpoint(
            mac=f"02:42:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}:01",
            addresses=(base + n,),
            vtep=ip_address("10.200.1.2"),
        )
        for n in range(10_000)
    )
    await first.apply()
    overlay = replace(first.net.overlay, remotes=remotes)
    first.world.networks[first.net.id] = replace(first.net, overlay=overlay)
    began = time.monotonic()
    report = await first.engine.apply(first.world.desired, scope(networks=(first.net,)))
    print(f"10,000 endpoints of other hosts: {time.monotonic() - began:.2f} s")
    assert len(report.ops) == 20_000
    assert (await first.engine.apply(first.world.desired, None)).ops == ()
    first.know()
    assert len((await first.engine.apply(first.world.desired, None)).ops) == 20_000


def listen(host: Host, name: str, port: int) -> socket.socket:
    libc, back, fd = Libc(), open_fd(HERE), open_fd(host.run / "netns" / name)
    libc.setns(fd)
    try:
        return socket.create_server(("", port))
    finally:
        libc.setns(back)
        os.close(back)
        os.close(fd)


CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"


def connects(lab: Lab, name: str, address: str, port: int) -> bool:
    words = [*lab.enter(name), "python3", "-c", CONNECT, address, str(port)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def connects_from(host: Host, name: str, address: str, port: int) -> bool:
    words = ["nsenter", f"--net={host.run}/netns/{name}", "python3", "-c", CONNECT]
    words += [address, str(port)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
