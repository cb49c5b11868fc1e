"""Macvlan networks on a real kernel: ``outside`` is another machine on the parent's wire.

Covers netdrivers/kernel/macvlan_view.py.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from netdrivers.contract.specs import Desired
from netdrivers.engine import Engine
from netdrivers.errors import Busy, Conflict, Refused, Unavailable
from netdrivers.kernel.linux import LinuxKernel
from tests.fakes.apply_cases import ANYWHERE, on_the_wire

LINKS = "ip -br link | sed 's/ .*//' | sort"


@pytest.mark.parametrize("case", ANYWHERE, ids=lambda case: case.__name__)
async def test_apply(case, host, run_dir):
    async def make(kernel) -> Engine:
        engine = Engine(run_dir, agent_id="test", kernel=kernel)
        await engine.open()
        return engine

    kernel = LinuxKernel(run_dir, "test")
    await kernel.open()
    await case(make, kernel, on_the_wire)
    await kernel.close()


async def settle(host, pin, *, flag="tentative", there=False) -> None:
    """Wait for the end of duplicate detection, of which the kernel says nothing at home."""
    for _ in range(80):
        with host.inside(pin):
            seen = flag in host.sh("ip addr show")
        if seen == there:
            return
        await trio.sleep(0.05)
    pytest.fail(f"{flag} is {seen}")


async def test_containers_and_a_machine_on_the_wire_reach_each_other(wired, host):
    pins = await wired()
    with host.listen(pins["b"], 80) as server, host.listen(pins["b"], 80, "::") as server6:
        assert host.connect(host.outside, "198.51.100.30", 80)
        assert host.client_of(server) == "198.51.100.2"
        assert host.connect(host.outside, "2001:db8::1e", 80)
        assert host.client_of(server6) == "2001:db8::2"
        assert host.connect(pins["a"], "198.51.100.30", 80)
        assert host.client_of(server) == "198.51.100.20"
        await settle(host, pins["a"])  # it answers before, but does not ask
        assert host.connect(pins["a"], "2001:db8::1e", 80)
    with host.listen(host.outside, 80) as server, host.listen(pins["b"], 81, kind="udp") as udp:
        assert host.connect(pins["a"], "198.51.100.2", 80)
        assert host.client_of(server) == "198.51.100.20"  # no address translation
        assert host.datagram(host.outside, "198.51.100.30", 81, udp)


async def test_the_host_and_bridged_containers_are_apart(wired, host):
    pins = await wired()
    with host.listen(pins["a"], 80), host.listen(host.home, 80), host.listen(pins["c"], 80):
        assert not host.connect(host.home, "198.51.100.20", 80)
        assert not host.connect(pins["a"], "198.51.100.1", 80)
        assert not host.connect(pins["a"], "10.2.0.2", 80)


async def test_private_containers_reach_the_wire_but_not_each_other(wired, host):
    pins = await wired(macvlan_mode="private")
    await settle(host, pins["a"])
    with host.listen(pins["b"], 80), host.listen(pins["b"], 80, "::"):
        assert host.connect(host.outside, "198.51.100.30", 80)
        assert host.connect(host.outside, "2001:db8::1e", 80)
        assert not host.connect(pins["a"], "198.51.100.30", 80)
        assert not host.connect(pins["a"], "2001:db8::1e", 80)


async def test_vepa_containers_meet_at_a_switch_that_sends_back(wired, host):
    with host.inside(host.outside):
        host.sh("ip link add sw type bridge; ip link set up1 master sw; ip link set sw up")
    pins = await wired(macvlan_mode="vepa")
    with host.listen(pins["b"], 80):
        assert not host.connect(pins["a"], "198.51.100.30", 80)
        with host.inside(host.outside):
            host.sh("bridge link set dev up1 hairpin on")
        with host.inside(pins["a"]):
            host.sh("ip neigh flush all")
        assert host.connect(pins["a"], "198.51.100.30", 80)


async def test_passthru_is_for_one_container_and_the_parents_mac_comes_back(
    host, engine, world, run_dir
):
    before = host.sh("cat /sys/class/net/up0/address || ip -br link show up0")
    net = world.macvlan("e", "198.51.100.0/24", macvlan_mode="passthru")
    ep = world.endpoints[world.container("a", net, 20)]
    await engine.apply(world.desired, None)
    with host.inside(run_dir / "netns" / "a"), host.listen(run_dir / "netns" / "a", 80):
        assert ep.mac in host.sh("ip link show eth0")
        assert host.connect(host.outside, "198.51.100.20", 80)
    world.container("b", net, 30)
    with pytest.raises(Busy, match="passthru") as caught:
        await engine.apply(world.desired, None)
    assert caught.value.fields["option"] == "macvlan_mode"
    world.remove("b")
    assert (await engine.apply(world.desired, None)).ops == ()
    world.remove("a")
    await engine.apply(world.desired, None)
    assert host.sh("cat /sys/class/net/up0/address || ip -br link show up0") == before


async def test_host_access(wired, host):
    pins = await wired(host=250)
    await settle(host, pins["a"])
    await settle(host, host.home)
    with host.listen(pins["a"], 80) as server, host.listen(pins["a"], 80, "::"):
        assert host.connect(host.home, "198.51.100.20", 80)
        assert host.client_of(server) == "198.51.100.250"
        assert host.connect(host.home, "2001:db8::14", 80)
    with host.listen(host.home, 80) as server, host.listen(host.home, 80, "::"):
        assert host.connect(pins["a"], "198.51.100.250", 80)
        assert host.connect(pins["a"], "198.51.100.1", 80)
        assert host.connect(pins["a"], "2001:db8::fa", 80)
        assert host.connect(host.outside, "198.51.100.1", 80)
    with host.inside(host.outside):
        parent = host.sh("ip neigh show 198.51.100.1")
    assert "02:43:" not in parent  # the wire does not learn a second MAC for the host


async def test_host_routes_come_and_go_with_containers(host, engine, world, scoped):
    before = host.sh(f"{LINKS}; ip route; ip -6 route")
    net = world.macvlan("e", "198.51.100.0/24", "2001:db8::/64", host=250)
    await engine.apply(world.desired, scoped(networks=(net,)))
    world.container("a", net, 20)
    world.container("b", net, 30)
    for name in ("a", "b"):
        await engine.apply(world.desired, scoped(name))
        assert (await engine.apply(world.desired, scoped(name))).ops == ()
    assert "198.51.100.30 dev mv-eeeeeeeeeeee" in host.sh("ip route")
    assert "2001:db8::1e dev mv-eeeeeeeeeeee" in host.sh("ip -6 route")
    world.remove("b")
    await engine.apply(world.desired, scoped("b"))
    assert "198.51.100.30" not in host.sh("ip route")
    assert "198.51.100.20 dev mv-eeeeeeeeeeee" in host.sh("ip route")
    assert (await engine.apply(world.desired, None)).ops == ()
    await engine.apply(Desired(), None)
    assert host.sh(f"{LINKS}; ip route; ip -6 route") == before


DAMAGE = {
    "link gone": ("a", "ip link del eth0"),
    "link down": ("a", "ip link set eth0 down"),
    "mac": ("a", "ip link set eth0 address 02:00:00:00:00:99"),
    "address": ("a", "ip addr flush dev eth0"),
    "route": ("a", "ip route del default"),
    "routers believed": ("a", "sysctl -qw net.ipv6.conf.eth0.accept_ra=1"),
    "host link gone": ("", "ip link del mv-eeeeeeeeeeee"),
    "host address": ("", "ip addr flush dev mv-eeeeeeeeeeee"),
    "host route": ("", "ip route del 198.51.100.20"),
    "host route 6": ("", "ip -6 route del 2001:db8::14"),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_repaired(wired, host, engine, world, damage):
    pins = await wired(host=250)
    place, script = DAMAGE[damage]
    with host.inside(pins[place] if place else host.home):
        host.sh(script)
    assert (await engine.apply(world.desired, None)).ops
    assert (await engine.apply(world.desired, None)).ops == ()
    await settle(host, host.home)
    with host.listen(pins["a"], 80), host.listen(pins["a"], 80, "::"):
        assert host.connect(host.outside, "198.51.100.20", 80)
        assert host.connect(host.home, "198.51.100.20", 80)
        assert host.connect(host.home, "2001:db8::14", 80)


async def test_an_mtu_above_the_parents_is_refused(host, engine, world):
    net = world.macvlan("e", "198.51.100.0/24", **{"com.docker.network.driver.mtu": "9000"})
    world.container("a", replace(net, mtu_bytes=9000), 20)
    world.networks[net.id] = replace(net, mtu_bytes=9000)
    with pytest.raises(Refused, match="MTU exceeds") as caught:
        await engine.apply(world.desired, None)
    assert caught.value.fields["most"] == 1500


async def test_a_parent_that_is_down_stays_down_and_works_when_it_is_up(wired, host):
    host.sh("ip link set up0 down")
    pins = await wired()
    assert "state DOWN" in host.sh("ip link show up0")
    with host.listen(pins["a"], 80):
        assert not host.connect(host.outside, "198.51.100.20", 80)
        host.sh("ip link set up0 up")
        # the kernel looks at carriers once a second
        assert any(host.connect(host.outside, "198.51.100.20", 80) for _ in range(12))


async def test_mtu_follows_the_parent_unless_asked_for(host, engine, world, run_dir):
    host.sh("ip link set up0 mtu 1400")
    world.container("a", world.macvlan("e", "198.51.100.0/24"), 20)
    await engine.apply(world.desired, None)
    host.sh("ip link set up0 mtu 1450")
    assert len((await engine.apply(world.desired, None)).ops) == 1
    with host.inside(run_dir / "netns" / "a"):
        assert "mtu 1450" in host.sh("ip link show eth0")


async def test_an_address_that_a_neighbour_has_is_not_taken_from_it(host, engine, world, run_dir):
    with host.inside(host.outside):
        host.sh("ip addr add 2001:db8::14/64 dev up1 nodad")
    world.container("a", world.macvlan("e", "2001:db8::/64"), 20)
    await engine.apply(world.desired, None)
    await settle(host, run_dir / "netns" / "a", flag="dadfailed", there=True)
    report = await engine.apply(world.desired, None)
    assert report.ops == ()
    assert ["2001:db8::14" in note for note in report.conflicts] == [True]


async def test_nobody_on_the_wire_gives_a_container_addresses(wired, host, world, engine, run_dir):
    await wired()
    world.container("four", world.macvlan("f", "198.51.100.128/25"), 20)
    await engine.apply(world.desired, None)
    with host.inside(run_dir / "netns" / "four"):
        assert "inet6" not in host.sh("ip addr show eth0")
    with host.inside(run_dir / "netns" / "a"):
        assert host.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").strip() == "0"


async def test_other_agents_macvlans_are_not_touched(host, engine, world, run_dir):
    other = Engine(run_dir / "other", agent_id="other")
    await other.open()
    theirs = type(world)()
    theirs.container("x", theirs.macvlan("d", "198.51.100.0/24", host=249), 60)
    await other.apply(theirs.desired, None)
    world.container("a", world.macvlan("e", "198.51.100.0/24", host=250), 20)
    await engine.apply(world.desired, None)
    await engine.apply(Desired(), None)
    assert (await other.apply(theirs.desired, None)).ops == ()
    await other.apply(Desired(), None)
    await other.close()
    (run_dir / "other" / "netns").rmdir()


@pytest.mark.parametrize(("kind", "module"), [("vlan", "8021q"), ("dummy", "dummy")])
async def test_a_parent_of_ours_or_the_name_of_the_module(host, engine, world, kind, module):
    if kind == "vlan":
        world.macvlan("e", "198.51.100.0/24", parent="up0.30")
    else:
        world.network("e", "198.51.100.0/24", driver="macvlan", internal=True)
    before = host.sh(LINKS)
    try:
        await engine.apply(world.desired, None)
    except Unavailable as exc:
        refused = exc.fields["module"]
    else:
        refused = ""
        assert (await engine.apply(world.desired, None)).ops == ()
    assert refused in {"", module}
    await engine.apply(Desired(), None)
    assert host.sh(LINKS) == before


async def test_a_sub_interface_of_the_operators_is_used_and_left(host, engine, world):
    host.sh("ip link add up0.30 type veth peer name up9; ip link set up0.30 up")
    world.container("a", world.macvlan("e", "198.51.100.0/24", parent="up0.30"), 20)
    await engine.apply(world.desired, None)
    assert (await engine.apply(world.desired, None)).ops == ()
    await engine.apply(Desired(), None)
    assert "up0.30" in host.sh(LINKS)


async def test_a_link_without_its_mark_is_made_again(host, engine, world, scoped):
    ep = world.endpoints[world.container("a", world.macvlan("e", "198.51.100.0/24"), 20)]
    pin = await engine.make_sandbox("a")
    made = f"ip link add m0 link up0 address {ep.mac} type macvlan mode bridge"
    with pin.open("rb") as ns:  # as a kill between the two steps leaves it
        host.sh(f"{made}; ip link set m0 netns /proc/{os.getpid()}/fd/{ns.fileno()} name eth0")
    await engine.apply(world.desired, scoped("a"))
    assert (await engine.apply(world.desired, None)).ops == ()


async def test_a_strangers_link_in_a_sandbox_is_a_conflict(host, engine, world, scoped):
    world.container("a", world.macvlan("e", "198.51.100.0/24"), 20)
    with host.inside(await engine.make_sandbox("a")):
        host.sh("ip link add eth0 type bridge")
    with pytest.raises(Conflict, match="eth0 in sandbox a"):
        await engine.apply(world.desired, scoped("a"))


KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from netdrivers.engine import Engine
from netdrivers.kernel.linux import LinuxKernel
from tests.fakes.apply_cases import on_the_wire
from tests.fakes.kernel import StepKernel

async def main(run, at):
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
    kernel = StepKernel(LinuxKernel(run, "test"), at=at, then=kill)
    engine = Engine(run, agent_id="test", kernel=kernel)
    await engine.open()
    await engine.apply(on_the_wire().desired, None)

trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.parametrize("at", [2, 4, 6, 9, 13, 18, 22, 25])
async def test_killed_at_any_step_the_next_start_converges(host, run_dir, at):
    before = host.sh(f"{LINKS}; ip route; ip -6 route")
    command = host.command(sys.executable, "-c", KILLED, str(run_dir), str(at))
    died = await trio.run_process(command, check=False, cwd=Path(__file__).parents[3])
    assert died.returncode == -signal.SIGKILL
    world = on_the_wire()
    engine = Engine(run_dir, agent_id="test")
    await engine.open()
    if at % 2:
        await engine.apply(world.desired, None)
        assert (await engine.apply(world.desired, None)).ops == ()
    await engine.apply(Desired(), None)
    await engine.close()
    assert host.sh(f"{LINKS}; ip route; ip -6 route") == before
    assert list((run_dir / "netns").iterdir()) == []
