"""The whole way on a real kernel: who reaches whom, what is left, what happens in between."""

import signal
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trio

from netdrivers.contract.specs import Desired
from netdrivers.engine import Engine
from netdrivers.errors import Conflict, Missing, Refused
from netdrivers.kernel.netns import HERE
from tests.fakes.apply_cases import two_containers


async def test_a_second_apply_does_nothing(two, engine, world, run_dir):
    assert (await engine.apply(world.desired, None)).ops == ()
    assert await engine.plan(world.desired, None) == ()
    other = Engine(run_dir, agent_id="test")
    await other.open()
    assert (await other.apply(world.desired, None)).ops == ()
    await other.close()


async def test_a_second_scoped_apply_does_nothing(two, engine, world, scoped):
    for name in world.sandboxes:
        assert (await engine.apply(world.desired, scoped(name))).ops == ()
    nets = tuple(world.networks.values())
    assert (await engine.apply(world.desired, scoped(networks=nets))).ops == ()


DAMAGE = {
    "bridge": "ip link del br-aaaaaaaaaaaa",
    "bridge down": "ip link set br-aaaaaaaaaaaa down",
    "bridge mtu": "ip link set br-aaaaaaaaaaaa mtu 1400",
    "gateway": "ip addr del 10.1.0.1/24 dev br-aaaaaaaaaaaa",
    "veth": "ip link del $(ip -br link | grep -o '^ve[0-9a-f]*' | head -1)",
    "veth down": "ip link set $(ip -br link | grep -o '^ve[0-9a-f]*' | head -1) down",
    "port off": "ip link set $(ip -br link | grep -o '^ve[0-9a-f]*' | head -1) nomaster",
    # the bridge follows, and has no IPv6 any more
    "port mtu": "ip link set $(ip -br link | grep -o '^ve[0-9a-f]*' | head -1) mtu 1200",
    "table": "nft delete table inet nodeagent-test",
    "element": "nft flush map inet nodeagent-test publish4any",
    "set": "nft flush set inet nodeagent-test same",
    "rule": "nft flush chain inet nodeagent-test forward",
    "chain": "nft flush chain inet nodeagent-test prerouting; nft delete chain inet "
             "nodeagent-test prerouting",
    "everything": "nft flush ruleset",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=0",
    "loopback": "sysctl -qw net.ipv4.conf.br-aaaaaaaaaaaa.route_localnet=0",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_repaired(two, host, engine, world, damage):
    host.sh(DAMAGE[damage])
    assert (await engine.apply(world.desired, None)).ops
    assert (await engine.apply(world.desired, None)).ops == ()
    with host.listen(two["b"], 80):
        assert host.reaches(two["a"], "10.1.0.3", 80)
        assert host.reaches(host.outside, "198.51.100.1", 8080)
        assert host.reaches(host.home, "127.0.0.1", 8081)


async def test_nothing_is_left_after_removal(host, engine, world, run_dir):
    before = host.sh("ip -br link | sed 's/ .*//'"), host.nft(), host.sh("ip route; ip -6 route")
    net = world.network("a", "10.1.0.0/24", "fd00:a::/64")
    for number in range(2, 6):
        world.container(f"s{number}", net, number, f"tcp:0.0.0.0:{8000 + number}:80", dns_port=5300)
    await engine.apply(world.desired, None)
    assert "10.1.0.4" in host.nft()
    await engine.apply(Desired(), None)
    after = host.sh("ip -br link | sed 's/ .*//'"), host.nft(), host.sh("ip route; ip -6 route")
    assert after == before
    assert list((run_dir / "netns").iterdir()) == []
    assert host.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "0"


async def test_scoped_removal_takes_the_sandbox_and_nothing_else(
    two, host, engine, world, scoped, run_dir
):
    world.remove("b")
    report = await engine.apply(world.desired, scoped("b"))
    assert all(op.verb == "delete" for op in report.ops)
    assert not (run_dir / "netns" / "b").exists()
    assert "8080" not in host.nft()
    assert (await engine.apply(world.desired, None)).ops == ()
    gone = next(net for net in world.networks.values() if net.id[0] == "b")
    world.remove("c")
    del world.networks[gone.id]
    await engine.apply(world.desired, scoped("c", networks=(gone,)))
    assert "br-bbbb" not in host.sh("ip link") + host.nft()
    assert (await engine.apply(world.desired, None)).ops == ()


async def test_connect_and_disconnect_of_a_running_container(two, host, engine, world, scoped):
    net_b = world.networks["b" * 64]
    joined = world.join("a", net_b, 9)
    await engine.apply(world.desired, scoped("a"))
    with host.listen(two["c"], 80):
        assert host.reaches(two["a"], "10.2.0.2", 80)
        del world.endpoints[joined]
        await engine.apply(world.desired, scoped("a"))
        assert not host.connect(two["a"], "10.2.0.2", 80)
    with host.listen(two["b"], 80):
        assert host.reaches(two["a"], "10.1.0.3", 80)
    assert set(engine.counters("a")) == {"eth0"}


async def test_an_unmarked_bridge_in_the_way_is_a_conflict_and_stays(host, engine, world, scoped):
    host.sh("ip link add br-aaaaaaaaaaaa type bridge")
    net = world.network("a", "10.1.0.0/24")
    with pytest.raises(Conflict, match="br-aaaaaaaaaaaa"):
        await engine.apply(world.desired, scoped(networks=(net,)))
    assert "br-aaaaaaaaaaaa" in str((await engine.apply(world.desired, None)).conflicts)
    del world.networks[net.id]
    await engine.apply(world.desired, None)
    assert "br-aaaaaaaaaaaa" in host.sh("ip link")


async def test_other_agents_and_foreign_links_are_not_touched(host, engine, world, run_dir):
    other = Engine(run_dir / "other", agent_id="other")
    await other.open()
    theirs = type(world)()
    theirs.container("x", theirs.network("d", "10.4.0.0/24"), 2, "tcp:0.0.0.0:9000:80")
    await other.apply(theirs.desired, None)
    host.sh("ip link add foreign type bridge; nft add table inet foreign")
    world.container("a", world.network("a", "10.1.0.0/24"), 2)
    await engine.apply(world.desired, None)
    await engine.apply(Desired(), None)
    assert (await other.apply(theirs.desired, None)).ops[1:] == ()  # at most forwarding again
    assert "foreign" in host.sh("ip link")
    assert "table inet foreign" in host.nft()
    await other.apply(Desired(), None)
    await other.close()
    (run_dir / "other" / "netns").rmdir()


async def test_a_bridge_name_of_another_of_ours_is_refused_and_the_link_stays(
    two, engine, world, scoped, host
):
    taken = ["br-aaaaaaaaaaaa", next(ep for ep in world.endpoints.values()).id[:13]]
    taken[1] = f"ve{taken[1]}"
    before = host.sh("ip link")
    for name in taken:
        bad = world.network("d", "10.9.0.0/24", options={"com.docker.network.bridge.name": name})
        with pytest.raises(Conflict, match=f"{name} belongs to"):
            await engine.apply(world.desired, scoped(networks=(bad,)))
        del world.networks[bad.id]
        assert (await engine.apply(world.desired, scoped(networks=(bad,)))).ops == ()
        assert host.sh("ip link") == before
    assert (await engine.apply(world.desired, None)).ops == ()


@pytest.mark.parametrize("mtu", [1300, 1500, 9000])
async def test_a_bridge_keeps_its_mtu_when_the_last_port_leaves(host, engine, world, scoped, mtu):
    net = world.network("a", "10.1.0.0/24", "fd00:a::/64", mtu_bytes=mtu)
    world.container("a", net, 2)
    await engine.apply(world.desired, None)
    world.sandboxes.clear()
    world.endpoints.clear()
    await engine.apply(world.desired, scoped("a"))
    assert f"mtu {mtu} " in host.sh("ip link show br-aaaaaaaaaaaa")
    assert (await engine.apply(world.desired, None)).ops == ()


async def test_the_bridge_of_a_network_that_is_no_more_becomes_the_one_that_has_its_name(
    host, engine, world, scoped
):
    options = {"com.docker.network.bridge.name": "mine"}
    world.network("a", "10.1.0.0/24", options=options)
    await engine.apply(world.desired, None)
    world.networks.clear()
    net = world.network("b", "10.2.0.0/24", options=options)
    assert (await engine.apply(world.desired, None)).ops
    assert (await engine.apply(world.desired, scoped(networks=(net,)))).ops == ()
    await engine.apply(Desired(), None)
    assert "mine" not in host.sh("ip link")


async def test_a_pin_without_a_namespace_is_repaired_or_removed(host, engine, world, run_dir):
    (run_dir / "netns" / "half").touch()
    (run_dir / "netns" / "a").touch()
    world.container("a", world.network("a", "10.1.0.0/24"), 2)
    assert (await engine.make_sandbox("half")) == run_dir / "netns" / "half"
    await engine.apply(world.desired, None)
    assert [path.name for path in (run_dir / "netns").iterdir()] == ["a"]
    with host.inside(run_dir / "netns" / "a"):
        assert "10.1.0.2" in host.sh("ip addr")


async def test_a_leftover_plain_file_is_removed(engine, run_dir, world):
    (run_dir / "netns" / "half").touch()
    await engine.apply(world.desired, None)
    assert list((run_dir / "netns").iterdir()) == []


async def test_make_sandbox_twice_gives_the_same_namespace(host, engine):
    first = (await engine.make_sandbox("a")).stat().st_ino
    assert (await engine.make_sandbox("a")).stat().st_ino == first
    with host.inside(await engine.make_sandbox("a")):
        assert "LOOPBACK,UP" in host.sh("ip link")


async def test_threads_come_home(host, engine):
    def here():
        return Path(HERE).stat().st_ino

    before = here(), await trio.to_thread.run_sync(here)
    made = await engine.make_sandbox("a")
    assert (here(), await trio.to_thread.run_sync(here)) == before
    assert made.stat().st_ino not in before


async def test_dns_redirect_and_a_server_of_ones_own_on_53(host, engine, world, run_dir):
    world.container("a", world.network("a", "10.1.0.0/24"), 2, dns_port=5300)
    await engine.apply(world.desired, None)
    pin = run_dir / "netns" / "a"
    with (
        host.listen(pin, 5300, "127.0.0.11", "udp") as server,
        host.listen(pin, 5300, "127.0.0.11"),
        host.listen(pin, 53, "10.1.0.2", "udp") as own,
    ):
        assert host.datagram(pin, "127.0.0.11", 53, server)
        assert host.reaches(pin, "127.0.0.11", 53)
        assert host.datagram(pin, "10.1.0.2", 53, own)
        with host.inside(pin):
            tracked = host.sh("cat /proc/sys/net/netfilter/nf_conntrack_count").strip()
            rules = host.sh("nft list table ip nodeagent-dns")
    assert tracked == "0", "questions fill no table"
    assert "udp dport 53 udp dport set 5300 notrack" in rules
    assert "tcp sport 5300 tcp sport set 53 notrack" in rules
    world.sandboxes["a"] = type(world.sandboxes["a"])(id="a", dns_port=5400)
    assert len((await engine.apply(world.desired, None)).ops) == 1
    with host.listen(pin, 5400, "127.0.0.11", "udp") as server:
        assert host.datagram(pin, "127.0.0.11", 53, server)


async def test_sysctls_of_a_sandbox(host, engine, world, run_dir):
    name = "net.ipv4.ip_unprivileged_port_start"
    world.container("a", world.network("a", "10.1.0.0/24"), 2, sysctls={name: "0"})
    await engine.apply(world.desired, None)
    with host.inside(run_dir / "netns" / "a"):
        assert host.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start").strip() == "0"
    assert (await engine.apply(world.desired, None)).ops == ()


async def test_a_refused_sysctl_takes_everything_back(host, engine, world, run_dir):
    world.container(
        "a", world.network("a", "10.1.0.0/24"), 2, "tcp:0.0.0.0:80:80", sysctls={"net.no.such": "1"}
    )
    with pytest.raises(Refused, match=r"net\.no\.such"):
        await engine.apply(world.desired, None)
    assert "br-" not in host.sh("ip link")
    assert list((run_dir / "netns").iterdir()) == []


async def test_cancelled_applies_leave_nothing(host, engine, world, scoped, run_dir):
    net = world.network("a", "10.1.0.0/24")
    await engine.apply(world.desired, None)
    before = host.sh("ip -br link | sed 's/ .*//'"), host.nft()
    world.container("a", net, 2, "tcp:0.0.0.0:8080:80", dns_port=5300)
    for step in range(40):
        with trio.move_on_after(step * 0.0001) as cancelled:
            await engine.apply(world.desired, scoped("a"))
        if cancelled.cancelled_caught:
            assert (host.sh("ip -br link | sed 's/ .*//'"), host.nft()) == before
            assert list((run_dir / "netns").iterdir()) == []
        else:
            await engine.apply(Desired(networks=world.desired.networks), scoped("a"))


async def test_a_pair_that_was_marked_at_one_end_only_is_made_again(two, host, engine, world):
    with host.inside(two["a"]):
        host.sh("ip link set eth0 alias ''")  # as a kill between the two marks leaves it
    assert (await engine.apply(world.desired, None)).ops
    assert (await engine.apply(world.desired, None)).ops == ()
    with host.listen(two["b"], 80):
        assert host.connect(two["a"], "10.1.0.3", 80)


async def test_many_at_once(host, engine, world, scoped, run_dir):
    net = world.network("a", "10.1.0.0/24")
    await engine.apply(world.desired, scoped(networks=(net,)))
    names = [f"s{number}" for number in range(2, 42)]
    for number, name in enumerate(names, start=2):
        world.container(name, net, number, f"tcp:0.0.0.0:{8000 + number}:80")
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(engine.apply, world.desired, scoped(name))
            nursery.start_soon(engine.apply, world.desired, scoped(name))
    assert (await engine.apply(world.desired, None)).ops == ()
    with host.listen(run_dir / "netns" / "s7", 80):
        assert host.reaches(run_dir / "netns" / "s41", "10.1.0.7", 80)
    left = Desired(networks=world.desired.networks)
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(engine.apply, left, scoped(name))
    assert (await engine.apply(left, None)).ops == ()
    assert list((run_dir / "netns").iterdir()) == []


async def test_host_routes_and_unknown_sandboxes(host, engine):
    routes = [each.to for each in await engine.host_routes()]
    assert ip_network("198.51.100.0/24") in routes
    assert ip_network("2001:db8::/64") in routes
    assert all(net.prefixlen for net in routes)
    with pytest.raises(Missing):
        engine.counters("nobody")


async def test_host_ports_are_held_in_the_engines_namespace(host, engine, world):
    net = world.network("a", "10.1.0.0/24")
    ep = world.endpoints[world.container("a", net, 2, "tcp:0.0.0.0:8080:80", "udp:0.0.0.0:53:53")]
    with host.inside(host.outside):
        await engine.hold_ports(ep.ports)
    assert not host.is_free(host.home, 8080)
    assert host.is_free(host.outside, 8080)
    picked = engine.pick_port("tcp", ip_address("198.51.100.1"))
    assert not host.is_free(host.home, picked)
    engine.release_ports(ep.ports)
    assert host.is_free(host.home, 8080)


async def test_the_same_port_on_two_loopback_addresses(host, engine, world, run_dir):
    net = world.network("a", "10.1.0.0/24")
    world.container("a", net, 2, "tcp:127.0.0.1:5000:80")
    world.container("b", net, 3, "tcp:127.0.0.2:5000:80")
    await engine.hold_ports([port for ep in world.endpoints.values() for port in ep.ports])
    await engine.apply(world.desired, None)
    with host.listen(run_dir / "netns" / "a", 80) as one, host.listen(run_dir / "netns" / "b", 80):
        assert host.reaches(host.home, "127.0.0.2", 5000)
        with pytest.raises(TimeoutError):
            one.accept()
        assert host.reaches(host.home, "127.0.0.1", 5000)
        one.accept()[0].close()


KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from netdrivers.engine import Engine
from netdrivers.kernel.linux import LinuxKernel
from tests.fakes.apply_cases import two_containers
from tests.fakes.kernel import StepKernel

async def main(run, at):
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
    kernel = StepKernel(LinuxKernel(run, "test"), at=at, then=kill)
    engine = Engine(run, agent_id="test", kernel=kernel)
    await engine.open()
    await engine.apply(two_containers().desired, None)

trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.parametrize("at", [2, 3, 5, 8, 12, 16, 20, 24])
async def test_killed_at_any_step_the_next_start_converges(host, run_dir, at):
    command = host.command(sys.executable, "-c", KILLED, str(run_dir), str(at))
    died = await trio.run_process(command, check=False, cwd=Path(__file__).parents[3])
    assert died.returncode == -signal.SIGKILL
    world = two_containers()
    engine = Engine(run_dir, agent_id="test")
    await engine.open()
    if at % 2:
        await engine.apply(world.desired, None)
        assert (await engine.apply(world.desired, None)).ops == ()
    await engine.apply(Desired(), None)
    await engine.close()
    assert "br-" not in host.sh("ip link")
    assert list((run_dir / "netns").iterdir()) == []
    assert "nodeagent" not in host.nft()
