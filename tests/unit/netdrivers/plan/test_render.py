"""Golden plans: what a network and its endpoints mean, as text for a reviewer."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from netdrivers.bridge import GATEWAY_MODE, ICC, TRUSTED
from netdrivers.contract.specs import OverlaySpec, RemoteEndpoint
from netdrivers.plan.objects import Element, Table
from netdrivers.plan.ops import Op
from netdrivers.plan.render import line, render, render_op
from netdrivers.registry import load_drivers
from netdrivers.wants import Wants
from tests.fakes.world import World

GOLDEN = Path(__file__).parents[3] / "golden"


def nat() -> World:
    world = World()
    net = world.network("a", "10.1.0.0/24")
    world.container("web", net, 2, "tcp:0.0.0.0:8080:80", "udp:127.0.0.1:53:53", dns_port=5300)
    return world


def dual() -> World:
    world = World()
    net = world.network("b", "10.2.0.0/24", "fd00:b::/64", mtu_bytes=1400)
    world.container("web", net, 2, "tcp::::8080:80", sysctls={"net.core.somaxconn": "99"})
    return world


def internal() -> World:
    world = World()
    world.container("db", world.network("c", "10.3.0.0/24", internal=True), 2, "tcp:0.0.0.0:1:1")
    return world


def wire() -> World:
    world = World()
    net = world.macvlan("e", "198.51.100.0/24", "2001:db8::/64", host=250)
    world.container("web", net, 20)
    return world


def tagged() -> World:
    world = World()
    mtu = {"com.docker.network.driver.mtu": "1400"}
    net = world.macvlan("e", "198.51.100.0/24", parent="up0.30", macvlan_mode="private", **mtu)
    world.networks[net.id] = replace(net, mtu_bytes=1400)
    world.container("web", net, 20)
    return world


@pytest.mark.parametrize("make", [wire, tagged], ids=lambda make: make.__name__)
def test_golden_plans_of_macvlans(make):
    text = render(Wants(load_drivers()).build(make().desired, None).values())
    assert text == (GOLDEN / f"macvlan-{make.__name__}.txt").read_text(encoding="utf-8")


def overlay() -> World:
    world = World()
    remote = RemoteEndpoint(
        mac="02:42:0A:05:00:03",
        addresses=(ip_address("10.5.0.3"), ip_address("fd00:5::3")),
        vtep=ip_address("fd12::2"),
    )
    spec = OverlaySpec(vni=4097, vtep=ip_address("fd12::1"), multicast=True, remotes=(remote,))
    net = world.network(
        "a", "10.5.0.0/24", "fd00:5::/64", driver="overlay", mtu_bytes=1350, overlay=spec
    )
    world.container("web", net, 2, "tcp:127.0.0.1:8080:80")
    return world


def test_golden_plan_of_an_overlay():
    text = render(Wants(load_drivers()).build(overlay().desired, None).values())
    assert text == (GOLDEN / "overlay.txt").read_text(encoding="utf-8")


def apart() -> World:
    world = World()
    net = world.network("f", "10.6.0.0/24", "fd00:f::/64", options={ICC: "false"})
    world.container("one", net, 2, "tcp:0.0.0.0:8080:80")
    world.container("two", net, 3)
    return world


def routed() -> World:
    world = World()
    modes = {GATEWAY_MODE[4]: "routed", GATEWAY_MODE[6]: "nat-unprotected", TRUSTED: "wg0:eth1"}
    net = world.network("d", "10.4.0.0/24", "fd00:d::/64", options=modes)
    world.container("web", net, 2, "tcp:10.4.0.2:80:80", "udp::::8080:80")
    return world


def isolated() -> World:
    world = World()
    modes = {GATEWAY_MODE[4]: "isolated", GATEWAY_MODE[6]: "isolated"}
    net = world.network("c", "10.3.0.0/24", "fd00:c::/64", internal=True, options=modes)
    world.container("db", net, 2)
    return world


def six() -> World:
    """IPv6 alone, and on a network with IPv4 that has the route of that family only."""
    world = World()
    net = world.network("b", "fd00:b::/64")
    world.container("web", net, 2, "tcp::::8080:80")
    world.join("web", world.network("a", "10.1.0.0/24"), 2, "tcp:0.0.0.0:8080:80")
    return world


BRIDGES = [nat, dual, internal, apart, routed, isolated, six]


@pytest.mark.parametrize("make", BRIDGES, ids=lambda make: make.__name__)
def test_golden_plans(make):
    text = render(Wants(load_drivers()).build(make().desired, None).values())
    assert text == (GOLDEN / f"bridge-{make.__name__}.txt").read_text(encoding="utf-8")


def test_steps():
    old = Element(set="publish4any", match=("tcp", 80), value=("10.0.0.2", 80), owner="a")
    new = Element(set="publish4any", match=("tcp", 80), value=("10.0.0.3", 80), owner="a")
    assert render_op(Op(verb="add", obj=Table())) == "+ nft table"
    assert render_op(Op(verb="delete", obj=Table())) == "- nft table"
    changed = render_op(Op(verb="change", obj=new, was=old))
    assert changed == f"~ {line(old)} -> {line(new)}"


def test_strangers_are_a_defect():
    with pytest.raises(TypeError, match="int"):
        line(1)
