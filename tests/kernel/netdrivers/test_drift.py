"""Whatever somebody does to what is ours is mended within two seconds, told and counted.

The repair loop of the agent over a real kernel; what it knows of containers are records.
"""

import dataclasses
import os
import time

import pytest
import trio

from netdrivers.plan.render import render_op
from nodeagent.control.audit import Auditor
from nodeagent.control.conflicts import Conflicts
from nodeagent.control.fights import FIRST_S, OFTEN
from nodeagent.control.reconcile import Reconciler
from nodeagent.control.repair import Repairer, kind
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.model.container import BoundPort
from nodeagent.model.network import SubnetRequest
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network

MENDED_S = 2.0
NET, OTHER, WEB = "a" * 64, "b" * 64, "c" * 64
BRIDGE, VETH = "br-aaaaaaaaaaaa", "veeeeeeeeeeeeee"
NFT = "inet nodeagent-test"


@pytest.fixture
async def agent(host, engine, nursery, tmp_path):
    """One container on a network of both families, and the loop."""
    made = Control(tmp_path, nursery)
    made.parts = dataclasses.replace(made.parts, engine=engine)
    subnets = [
        SubnetRequest(subnet="10.1.0.0/24", gateway="10.1.0.1"),
        SubnetRequest(subnet="fd00:a::/64", gateway="fd00:a::1"),
    ]
    web = container(
        WEB,
        phase="running",
        network_mode=NET,
        ports=[BoundPort(container_port=80, host_ip="0.0.0.0", host_port=8080)],
        endpoints={
            NET: endpoint(
                NET,
                id="e" * 64,
                addresses=["10.1.0.2/24", "fd00:a::2/64"],
                gateways=["10.1.0.1", "fd00:a::1"],
                mac="02:42:0a:01:00:02",
            )
        },
    )
    await made.inventory.put(network(NET, subnets=subnets), web)
    made.sandboxes = Sandboxes(made.parts)
    await made.sandboxes.apply_network(NET)
    await made.sandboxes.open(web)
    made.repairer = Repairer(made.parts, made.sandboxes)
    nursery.start_soon(Reconciler(made.parts, made.repairer, Conflicts(made.parts)).run)
    await trio.sleep(1)  # our own changes are heard and looked at
    assert made.actions() == []
    yield made
    nursery.cancel_scope.cancel()


# what is done -> the kind of what is mended; in the host's namespace …
HOST = {
    "bridge deleted": (f"ip link del {BRIDGE}", "link"),
    "bridge renamed": (f"ip link set {BRIDGE} down; ip link set {BRIDGE} name zzz", "link"),
    "bridge down": (f"ip link set {BRIDGE} down", "link"),
    "bridge mtu": (f"ip link set {BRIDGE} mtu 1400", "link"),
    "bridge mac": (f"ip link set {BRIDGE} address 02:00:00:00:00:99", "link"),
    "gateway gone": (f"ip addr del 10.1.0.1/24 dev {BRIDGE}", "address"),
    "v6 gateway gone": (f"ip addr del fd00:a::1/64 dev {BRIDGE}", "address"),
    "all addresses gone": (f"ip addr flush dev {BRIDGE}", "address"),
    "subnet's route gone": (f"ip route del 10.1.0.0/24 dev {BRIDGE}", "address"),
    "v6 subnet's route gone": (f"ip route del fd00:a::/64 dev {BRIDGE}", "address"),
    "veth deleted": (f"ip link del {VETH}", "link"),
    "veth down": (f"ip link set {VETH} down", "link"),
    "veth off the bridge": (f"ip link set {VETH} nomaster", "link"),
    "veth without hairpin": (f"bridge link set dev {VETH} hairpin off", "link"),
    "veth renamed": (f"ip link set {VETH} down; ip link set {VETH} name zzz", "link"),
    "veth shut": (f"bridge link set dev {VETH} state 0", "link"),
    "veth only listens": (f"bridge link set dev {VETH} state 1", "link"),
    "ruleset flushed": ("nft flush ruleset", "rule"),
    "table deleted": (f"nft delete table {NFT}", "rule"),
    "ruleset of a file": ("printf 'flush ruleset\ntable inet mine {}\n' | nft -f -", "rule"),
    "rules of a chain flushed": (f"nft flush chain {NFT} forward", "rule"),
    "one rule deleted": (
        f"nft delete rule {NFT} decide handle $(nft -a list chain {NFT} decide"
        " | sed -n 's/.*@bridges drop # handle //p')",
        "rule",
    ),
    "a rule put in front": (f"nft insert rule {NFT} decide accept", "rule"),
    "policy changed": (f"nft 'add chain {NFT} forward {{ policy drop; }}'", "rule"),
    "set flushed": (f"nft flush set {NFT} same", "element"),
    "element deleted": (f"nft 'delete element {NFT} bridges {{ {BRIDGE} }}'", "element"),
    "element added": (f"nft 'add element {NFT} internal {{ {BRIDGE} }}'", "element"),
    "port led elsewhere": (
        f"nft 'delete element {NFT} publish4any {{ tcp . 8080 }};"
        f"add element {NFT} publish4any {{ tcp . 8080 : 10.1.0.66 . 80 }}'",
        "element",
    ),
    "forwarding off": ("sysctl -qw net.ipv4.ip_forward=0", "sysctl"),
    "v6 forwarding off": ("sysctl -qw net.ipv6.conf.all.forwarding=0", "sysctl"),
    "bridge's forwarding off": (f"sysctl -qw net.ipv4.conf.{BRIDGE}.forwarding=0", "sysctl"),
    "route_localnet off": (f"sysctl -qw net.ipv4.conf.{BRIDGE}.route_localnet=0", "sysctl"),
    "routers are believed": (f"sysctl -qw net.ipv6.conf.{BRIDGE}.accept_ra=2", "sysctl"),
}
# … and in that of the container
SANDBOX = {
    "link down": ("ip link set eth0 down", "link"),
    "link deleted": ("ip link del eth0", "link"),
    "link renamed": ("ip link set eth0 down; ip link set eth0 name eth7", "link"),
    "mtu": ("ip link set eth0 mtu 1300", "link"),
    "mac": ("ip link set eth0 address 02:00:00:00:00:99", "link"),
    "loopback down": ("ip link set lo down", "namespace"),
    "address gone": ("ip addr del 10.1.0.2/24 dev eth0", "address"),
    "v6 address gone": ("ip addr del fd00:a::2/64 dev eth0", "address"),
    "subnet's route gone": ("ip route del 10.1.0.0/24", "address"),
    "v6 subnet's route gone": ("ip -6 route del fd00:a::/64", "address"),
    "all routes gone": ("ip route flush dev eth0", "address"),
    "default route gone": ("ip route del default", "route"),
    "v6 default route gone": ("ip -6 route del default", "route"),
    "default route led elsewhere": ("ip route replace default via 10.1.0.66", "route"),
    "ruleset flushed": ("nft flush ruleset", "redirect"),
    "redirect without rules": ("nft flush chain ip nodeagent-dns output", "redirect"),
    "redirect led elsewhere": (
        "nft insert rule ip nodeagent-dns output udp dport 53 drop",
        "redirect",
    ),
    "sysctl": ("sysctl -qw net.ipv6.conf.default.accept_ra=2", "sysctl"),
}


async def mended(agent, damage) -> float:
    """Seconds until the first repair is told; by then all is as it should be."""
    with agent.parts.events.subscribe(int(2e18)) as events:
        began = time.monotonic()
        damage()
        with trio.fail_after(MENDED_S * 3):
            event = await events.receive()
        took_s = time.monotonic() - began
    assert (event.type, event.action) == ("network", "repair")
    assert event.attributes["ops"]
    return took_s


async def healthy(agent, host, run_dir) -> None:
    await trio.sleep(0.2)
    drift = await agent.repairer.check()
    assert (list(drift.ops), list(drift.conflicts)) == ([], [])
    with host.listen(run_dir / "netns" / WEB, 80):
        assert host.reaches(host.outside, "198.51.100.1", 8080)
        assert host.reaches(host.home, "10.1.0.2", 80)


@pytest.mark.parametrize("what", HOST)
async def test_damage_to_the_host_is_mended(agent, host, run_dir, what):
    damage, kind = HOST[what]
    took_s = await mended(agent, lambda: host.sh(damage))
    assert took_s < MENDED_S
    assert agent.repairer.repairs.ops[kind] >= 1
    await healthy(agent, host, run_dir)


@pytest.mark.parametrize("what", SANDBOX)
async def test_damage_inside_a_sandbox_is_mended(agent, host, run_dir, what):
    damage, kind = SANDBOX[what]

    def inside():
        with host.inside(run_dir / "netns" / WEB):
            host.sh(damage)

    took_s = await mended(agent, inside)
    assert took_s < MENDED_S
    assert agent.repairer.repairs.ops[kind] >= 1
    event = agent.parts.events.history(0)[0]
    assert (event.name, event.attributes["container"]) == ("demo", "web")
    await healthy(agent, host, run_dir)


async def test_a_pin_that_is_gone_leads_back_to_the_container(agent, host, run_dir):
    pin = run_dir / "netns" / WEB
    before = pin.stat().st_ino
    assert await mended(agent, lambda: host.libc.unmount(pin)) < MENDED_S
    assert pin.stat().st_ino == before
    assert agent.repairer.repairs.ops == {"namespace": 1}


async def test_a_host_end_in_another_namespace_is_made_anew(agent, host, run_dir):
    move = f"ip link set {VETH} netns /proc/{os.getpid()}/fd/{host.outside}"
    assert await mended(agent, lambda: host.sh(move)) < MENDED_S
    await healthy(agent, host, run_dir)
    with host.inside(host.outside):
        assert VETH not in host.sh("ip -br link")


async def test_an_end_that_nobody_wants_is_removed_with_the_other(agent, host, run_dir):
    move = f"ip link set {VETH} netns /proc/{os.getpid()}/fd/{host.outside}"
    async with agent.sandboxes.gate.step(WEB):  # the loop waits
        host.sh(move)
        wanted = agent.sandboxes.wanted()
        alone = dataclasses.replace(wanted, endpoints={})
        report = await agent.parts.engine.apply(alone, None)
        assert f"- link {VETH}" in "\n".join(render_op(op) for op in report.ops)
        with host.inside(run_dir / "netns" / WEB):
            assert "eth0" not in host.sh("ip -br link")


async def test_a_bridge_that_shuts_ports_itself_is_left_to_it(agent, host):
    host.sh(f"ip link set {BRIDGE} type bridge stp_state 1")
    await mended(agent, lambda: host.sh(f"ip link set {VETH} down"))
    await trio.sleep(1.5)
    assert "state listening" in host.sh(f"bridge link show dev {VETH}")
    assert agent.actions().count("repair") == 1
    assert (await agent.repairer.check()).lines == []


async def test_what_cannot_be_mended_keeps_nothing_else_of_a_container_broken(agent, host, run_dir):
    def inside():
        with host.inside(run_dir / "netns" / WEB):
            host.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1; nft flush ruleset")

    assert await mended(agent, inside) < MENDED_S
    await trio.sleep(1.5)
    assert agent.repairer.repairs.ops["redirect"] == 1
    failed = [e for e in agent.parts.events.history(0) if e.action == "repair failed"]
    assert [e.attributes["ops"].split()[3] for e in failed] == ["addr", "route"], "once each"
    drift = await agent.repairer.repair()
    assert ["the kernel refused" in line for line in drift.conflicts] == [True, True]


async def test_a_stranger_in_the_way_keeps_nothing_else_of_a_container_broken(agent, host, run_dir):
    def inside():
        with host.inside(run_dir / "netns" / WEB):
            host.sh("nft flush ruleset; ip link del eth0; ip link add eth0 type bridge")

    assert await mended(agent, inside) < MENDED_S
    assert agent.repairer.repairs.ops["redirect"] == 1
    drift = await agent.repairer.check()
    assert ["not ours" in line for line in drift.conflicts] == [True]


async def test_leftovers_are_removed(agent, host, run_dir):
    """A pair and a bridge with our mark that nobody wants; the next look finds them."""

    def leave():
        host.sh("ip link add brx type bridge; ip link set brx alias nodeagent:test:gone")
        host.sh("ip link add vex type veth peer name vey; ip link set vex alias nodeagent:test:go")

    assert await mended(agent, leave) < MENDED_S
    await trio.sleep(1.2)
    links = host.sh("ip -br link")
    assert "brx" not in links
    assert "vex" not in links


async def test_an_audit_finds_what_is_planted_and_nothing_else(agent, host, engine, run_dir):
    auditor = Auditor(agent.parts, agent.sandboxes, agent.addresses, agent.repairer)
    healthy = await auditor.audit()
    assert (healthy.leaks, healthy.others) == ([], {})
    host.sh("ip link add east0 type bridge; ip link set east0 alias nodeagent:east:0a")
    host.sh("nft add table inet nodeagent-east")
    plant = {
        "link": "ip link add brx type bridge; ip link set brx alias nodeagent:test:gone;"
        "ip link add vex type veth peer name vey; ip link set vex alias nodeagent:test:go",
        "element": f"nft 'add element {NFT} bridges {{ \"brx\" }}'",
    }
    async with agent.sandboxes.gate.step("nobody"):  # the loop waits; else it is the first to find
        host.sh(";".join(plant.values()))
        (run_dir / "netns" / "half").touch()
        engine._linux.access.namespaces.create(run_dir / "netns" / "stray")
        report = await engine.look(agent.sandboxes.wanted(), fresh=True)
        found = {kind(op) for op in report.ops if op.verb == "delete"}
        assert found == {"link", "element", "namespace"}
        assert len([op for op in report.ops if kind(op) == "namespace"]) == 2
    agent.parts.names.opened["stray"] = 5353
    found = await auditor.audit()
    assert "names" in {leak.kind for leak in found.leaks}
    assert found.others == {"east": 2}


async def test_the_operators_own_are_left_alone(agent, host, run_dir):
    host.sh(f"ip link add mine type bridge; nft add rule {NFT} operator-after counter accept")
    host.sh(f"ip addr add 10.77.0.1/24 dev {BRIDGE}; ip route add 10.78.0.0/24 dev {BRIDGE}")
    with host.inside(run_dir / "netns" / WEB):
        host.sh("ip addr add 10.77.0.2/24 dev eth0; nft add table ip theirs")
    await trio.sleep(1.5)
    assert agent.actions() == []
    await mended(agent, lambda: host.sh(f"nft flush chain {NFT} decide"))
    assert "counter" in host.sh(f"nft list chain {NFT} operator-after")
    assert "10.77.0.1" in host.sh(f"ip addr show {BRIDGE}")


async def test_a_fight_is_told_and_slows_down(agent, host):
    await host_fights(agent, host)
    repairs = agent.actions().count("repair")
    host.sh(f"ip link set {BRIDGE} mtu 1400")
    await trio.sleep(2)
    assert agent.actions().count("repair") == repairs, "it is held back"
    assert (await agent.repairer.check()).ops
    assert await mended(agent, lambda: None) < FIRST_S
    assert "mtu 1500" in host.sh(f"ip link show {BRIDGE}")


async def test_what_is_broken_by_hand_is_mended_at_once_each_time(agent, host, run_dir):
    for _ in range(6):
        assert await mended(agent, lambda: host.sh(f"ip link del {BRIDGE}")) < MENDED_S
        await trio.sleep(1)
    assert "fought over" not in agent.actions()
    await healthy(agent, host, run_dir)


async def host_fights(agent, host):
    for _ in range(OFTEN):
        assert await mended(agent, lambda: host.sh(f"ip link set {BRIDGE} mtu 1400")) < MENDED_S
        await trio.sleep(0.6)
    assert agent.actions().count("fought over") == 1


async def test_our_own_changes_are_no_drift(agent, engine):
    record = agent.inventory.containers[WEB]
    for _ in range(5):
        await agent.sandboxes.close(record)
        await agent.sandboxes.open(record)
        await trio.sleep(0.3)
    await trio.sleep(1)
    assert agent.actions() == []
    assert agent.repairer.repairs.ops == {}
