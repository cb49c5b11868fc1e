"""The cases of every apply on the real kernel, and steps it refuses."""

import pytest

from netdrivers.engine import Engine
from netdrivers.errors import Missing, Refused
from netdrivers.kernel.apply import Changer
from netdrivers.kernel.linux import LinuxKernel
from netdrivers.plan.objects import Bridge, Element, Veth
from netdrivers.plan.ops import Op
from tests.fakes.apply_cases import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_apply(case, host, run_dir):
    async def make(kernel) -> Engine:
        engine = Engine(run_dir, agent_id="test", kernel=kernel)
        await engine.open()
        return engine

    kernel = LinuxKernel(run_dir, "test")
    await kernel.open()
    await case(make, kernel)
    await kernel.close()


@pytest.fixture
async def kernel(host, run_dir):
    made = LinuxKernel(run_dir, "test")
    await made.open()
    yield made
    await made.close()


async def test_a_link_that_cannot_be_finished_is_taken_back(host, kernel):
    too_long = Bridge(name="br-x", owner="o" * 300, mac="02:00:00:00:00:01")
    with pytest.raises(Refused, match="br-x"):
        await kernel.change([Op(verb="add", obj=too_long)], [])
    assert "br-x" not in host.sh("ip link")


async def test_a_link_that_has_the_name_already_is_left_as_it_is(host, kernel):
    host.sh("ip link add br-x type bridge; ip link set br-x alias theirs")
    before = host.sh("ip -d link show br-x")
    bridge = Bridge(name="br-x", owner="o", mac="02:00:00:00:00:01", mtu_bytes=1400)
    with pytest.raises(Refused, match="exists"):
        await kernel.change([Op(verb="add", obj=bridge)], [])
    assert host.sh("ip -d link show br-x") == before


async def test_an_endpoint_without_its_sandbox_or_bridge(kernel):
    veth = Veth(name="ve1", owner="nobody", endpoint="e", bridge="br-x", interface="eth0",
                mac="02:00:00:00:00:01")  # fmt: skip
    with pytest.raises(Missing, match="nobody"):
        await kernel.change([Op(verb="add", obj=veth)], [])


async def test_elements_are_all_or_nothing_and_gone_ones_are_not_missed(host, kernel):
    bridges = [Element(set="bridges", match=(f"br{n}",), owner="o") for n in range(3)]
    done = []
    with pytest.raises(Refused, match="elements"):
        await kernel.change([Op(verb="add", obj=item) for item in bridges], done)
    assert done == []
    host.sh("nft add table inet nodeagent-test")
    host.sh("nft 'add set inet nodeagent-test bridges { type ifname; }'")
    changer = Changer(kernel.access)
    changer.change([Op(verb="add", obj=item) for item in bridges[:2]], done)
    changer.change([Op(verb="delete", obj=item) for item in bridges], done)
    assert "br0" not in host.nft()


async def test_thousands_of_elements_with_long_owners_go_in_and_out(host, engine, world, scoped):
    net = world.network("a", "10.1.0.0/24")
    name = "c" * 64
    world.container(name, net, 2, *(f"tcp:127.0.0.1:{port}:80" for port in range(10000, 14096)))
    await engine.apply(world.desired, None)
    assert host.nft().count("127.0.0.1 . tcp") == 4096
    assert not (await engine.apply(world.desired, scoped(name))).ops
    world.remove(name)
    await engine.apply(world.desired, scoped(name))
    assert "127.0.0.1 . tcp" not in host.nft()
