"""What nobody tells of is seen within a second, and what is remembered is not believed for longer.

Covers netdrivers/kernel/inside.py netdrivers/kernel/table.py
"""

import pytest
import trio

from netdrivers.kernel.quiet import Quiet
from netdrivers.kernel.snapshot import View

SEEN_S = 2.0
SILENT_S = 0.2


@pytest.fixture
def kernel(engine):
    return engine._linux


async def settle(engine, world):
    """Until neither we nor the kernel have anything more to say."""
    assert (await engine.apply(world.desired, None)).ops == ()
    while True:
        with trio.move_on_after(SILENT_S) as scope:
            await engine.wait_change()
        if scope.cancelled_caught:
            return
        await engine.apply(world.desired, None)


HOST = ("net.ipv4.conf.br-aaaaaaaaaaaa.route_localnet", "net.ipv6.conf.br-aaaaaaaaaaaa.accept_ra")


@pytest.mark.parametrize("name", HOST)
async def test_a_sysctl_of_the_host_is_seen(two, host, engine, world, name):
    await settle(engine, world)
    host.sh(f"sysctl -qw {name}={'0' if name.endswith('localnet') else '1'}")
    with trio.fail_after(SEEN_S):
        await engine.wait_change()
    (op,) = (await engine.apply(world.desired, None)).ops
    assert op.obj.name == name


async def test_a_sysctl_of_a_sandbox_is_seen(host, engine, world, run_dir):
    name = "net.ipv4.ip_unprivileged_port_start"
    world.container("a", world.network("a", "10.1.0.0/24"), 2, sysctls={name: "0"})
    await engine.apply(world.desired, None)
    await settle(engine, world)
    with host.inside(run_dir / "netns" / "a"):
        host.sh(f"sysctl -qw {name}=1024")
    with trio.fail_after(SEEN_S):
        await engine.wait_change()
    (op,) = (await engine.apply(world.desired, None)).ops
    assert op.obj.name == name


async def test_a_pin_that_is_gone_is_seen_and_leads_back_to_the_same_namespace(
    two, host, engine, world
):
    await settle(engine, world)
    before = two["a"].stat().st_ino
    host.libc.unmount(two["a"])
    with trio.fail_after(SEEN_S):
        await engine.wait_change()
    assert len((await engine.apply(world.desired, None)).ops) == 1
    assert two["a"].stat().st_ino == before
    assert (await engine.apply(world.desired, None)).ops == ()


async def test_many_values_have_their_turn(two, host, engine, world, kernel, monkeypatch):
    monkeypatch.setattr("netdrivers.kernel.quiet.READS", 1)
    await settle(engine, world)
    quiet = Quiet(kernel.access)
    count = sum(len(way.sysctls) for way in kernel.access.opened().values())
    assert count > 2
    host.sh(f"sysctl -qw {HOST[0]}=0")
    assert [quiet.look() for _ in range(count)].count(True) == 1


async def test_silent_namespaces_are_not_read_again(two, engine, world, kernel, monkeypatch):
    await settle(engine, world)
    asked = []
    for way in kernel.access.opened().values():
        for each in (way.route, way.filter):
            ask = each.exchange
            monkeypatch.setattr(each, "exchange", lambda r, ask=ask: asked.append(r) or ask(r))
    assert (await engine.apply(world.desired, None)).ops == ()
    assert len(asked) == 2  # the ruleset's generation, for the rules and for the elements
    assert (await engine.look(world.desired, fresh=True)).ops == ()
    assert len(asked) > 30


async def test_a_change_while_reading_is_not_remembered_as_seen(two, host, engine, world, kernel):
    await settle(engine, world)
    way = kernel.access.way("a")
    dump = way.route.dump

    def late(request):
        found = dump(request)
        way.route.dump = dump
        with host.inside(two["a"]):
            host.sh("ip link set eth0 mtu 1300")
        return found

    way.route.dump = late
    await kernel.read(View(want={}, fresh=True))
    ops = await engine.plan(world.desired, None)
    assert [op.verb for op in ops] == ["change"]
