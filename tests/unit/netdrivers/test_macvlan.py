"""The macvlan driver: parents, modes, and what it refuses."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from netdrivers.contract.specs import Desired
from netdrivers.engine import Engine
from netdrivers.errors import Invalid, Missing, Refused
from netdrivers.kernel.snapshot import View
from netdrivers.macvlan import MacvlanDriver
from netdrivers.plan.objects import Macvlan, Parent, Sysctl
from tests.fakes.apply_cases import ANYWHERE, on_the_wire
from tests.fakes.kernel import FakeKernel
from tests.fakes.world import World, scope

NET = World().macvlan("e", "198.51.100.0/24", "2001:db8::/64", host=250)
driver = MacvlanDriver()


async def make(kernel) -> Engine:
    engine = Engine(Path("/nonexistent"), agent_id="test", kernel=kernel)
    await engine.open()
    return engine


@pytest.mark.parametrize("case", ANYWHERE, ids=lambda case: case.__name__)
async def test_apply(case):
    await case(make, FakeKernel(), on_the_wire)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"nope": "1"}, "it has: .*macvlan_mode.*option=nope"),
        ({"macvlan_mode": "source"}, "macvlan_mode"),
        ({"host_access": "perhaps"}, "host_access"),
        ({"macvlan_mode": "private"}, "host_access"),
        ({"parent": ""}, "parent"),
        ({"parent": "lo"}, "parent"),
        ({"parent": "a/b"}, "parent"),
        ({"parent": "sixteen-letters-"}, "parent"),
        ({"parent": "eth0.0"}, "4094"),
        ({"parent": "eth0.4095"}, "4094"),
        ({"parent": ".30"}, "4094"),
    ],
)
def test_check_names_the_option(options, word):
    driver.check(NET)
    with pytest.raises(Invalid, match=word):
        driver.check(replace(NET, options={**NET.options, **options}))


def test_check_of_addresses_and_mtu():
    outside = replace(NET.subnets[0], host=ip_address("10.0.0.1"))
    alone = replace(NET.subnets[0], host=None)
    doubled = replace(NET.subnets[0], host=NET.subnets[0].gateway)
    for subnet in (outside, alone, doubled):
        with pytest.raises(Invalid, match="aux-address host"):
            driver.check(replace(NET, subnets=(subnet,)))
    stray = replace(NET.subnets[0], gateway=ip_address("10.0.0.1"))
    with pytest.raises(Invalid, match="gateway"):
        driver.check(replace(NET, subnets=(stray, NET.subnets[1])))
    with pytest.raises(Invalid, match="1280"):
        driver.check(replace(NET, mtu_bytes=1279))


def test_an_internal_network_has_no_parent():
    inside = replace(NET, internal=True, options={})
    driver.check(inside)
    assert list(driver.network(inside)) == [
        Parent(name="dm-eeeeeeeeeeee", owner=NET.id, kind="dummy")
    ]
    with pytest.raises(Invalid, match="parent"):
        driver.check(replace(inside, options={"parent": "up0"}))
    with pytest.raises(Invalid, match="host_access"):
        driver.check(replace(inside, options={"host_access": "true"}))


@pytest.mark.parametrize(
    ("name", "kind", "lower", "vlan_id"),
    [("eth0", "", "", 0), ("eth0.30", "vlan", "eth0", 30), ("a.b", "", "", 0)],
)
def test_parents(name, kind, lower, vlan_id):
    (parent,) = driver.network(replace(NET, options={"parent": name}))
    assert (parent.kind, parent.lower, parent.vlan_id) == (kind, lower, vlan_id)


def test_the_mtu_is_the_parents_unless_asked_for():
    world = World()
    asked = {"com.docker.network.driver.mtu": "1400"}
    ep = world.endpoints[world.container("a", NET, 20)]
    assert next(iter(driver.endpoint(NET, ep))).mtu_bytes == 0
    net = replace(NET, mtu_bytes=1400, options={**NET.options, **asked})
    made = [obj for obj in driver.network(net) if isinstance(obj, Macvlan)]
    assert {obj.mtu_bytes for obj in [*made, next(iter(driver.endpoint(net, ep)))]} == {1400}


def test_without_v6_addresses_there_is_no_v6():
    world = World()
    net = world.macvlan("e", "198.51.100.0/24")
    ep = world.endpoints[world.container("a", net, 20)]
    found = {obj.name: obj for obj in driver.endpoint(net, ep) if isinstance(obj, Sysctl)}
    assert found["net.ipv6.conf.eth0.disable_ipv6"].value == "1"


def test_ports_are_refused():
    world = World()
    ep = world.endpoints[world.container("a", NET, 20, "tcp:0.0.0.0:8080:80")]
    with pytest.raises(Invalid, match="publishes no ports") as caught:
        list(driver.endpoint(NET, ep))
    assert caught.value.fields["ports"] == "8080/tcp"


async def test_a_missing_parent_is_an_error_of_its_network_alone():
    world = on_the_wire()
    kernel = FakeKernel(parents="")
    engine = await make(kernel)
    net = next(iter(world.networks.values()))
    with pytest.raises(Missing) as caught:
        await engine.apply(world.desired, scope(networks=(net,)))
    fields = {"option": "parent", "parent": "up0", "there_is": "nothing else"}
    assert caught.value.fields == fields
    report = await engine.apply(world.desired, None)
    assert len(report.conflicts) == 1
    assert ("link", "", "br-bbbbbbbbbbbb") in kernel.objects
    assert not any(isinstance(obj, Macvlan) for obj in kernel.objects.values())
    kernel.parents.add("up0")
    await engine.apply(world.desired, None)
    report = await engine.apply(world.desired, None)
    assert (report.ops, report.conflicts) == ((), ())


async def test_a_sub_interface_is_made_and_removed_with_its_network():
    world, kernel = World(), FakeKernel()
    world.container("a", world.macvlan("e", "198.51.100.0/24", parent="up0.30"), 20)
    engine = await make(kernel)
    await engine.apply(world.desired, None)
    assert kernel.objects["parent", "up0.30"].vlan_id == 30
    assert (await engine.apply(world.desired, None)).ops == ()
    await engine.apply(Desired(), None)
    assert (await kernel.read(View(want={}))).objects == {}


async def test_one_of_the_operators_is_used_and_left():
    world, kernel = World(), FakeKernel(parents="up0.30")
    world.container("a", world.macvlan("e", "198.51.100.0/24", parent="up0.30"), 20)
    engine = await make(kernel)
    await engine.apply(world.desired, None)
    assert ("parent", "up0.30") not in kernel.objects
    assert (await engine.apply(world.desired, None)).ops == ()


async def test_passthru_is_for_one_container():
    world, kernel = World(), FakeKernel()
    net = world.macvlan("e", "198.51.100.0/24", macvlan_mode="passthru")
    world.container("a", net, 20)
    engine = await make(kernel)
    await engine.apply(world.desired, None)
    world.container("b", net, 30)
    with pytest.raises(Refused):
        await engine.apply(world.desired, scope("b"))
    world.remove("b")
    assert (await engine.apply(world.desired, None)).ops == ()
