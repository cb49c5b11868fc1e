"""What holds of every apply, on the kernel in memory as on the real one.

Each case takes ``make``, which gives an open engine on a kernel (the inner one by default), and
``inner``, the kernel itself.
"""

from dataclasses import replace

import pytest
import trio

from netdrivers.bridge import GATEWAY_MODE, ICC, TRUSTED
from netdrivers.contract.specs import Desired
from netdrivers.errors import Refused
from netdrivers.kernel.snapshot import View
from tests.fakes.kernel import StepKernel, refuse
from tests.fakes.world import World, scope


def two_containers() -> World:
    world = World()
    net = world.network("a", "10.1.0.0/24", "fd00:a::/64")
    world.container("one", net, 2, "tcp:0.0.0.0:8001:80", "udp:2001:db8::1:8001:80", dns_port=5300)
    world.container("two", net, 3, "tcp:127.0.0.1:8002:80")
    world.join("two", world.network("b", "10.2.0.0/24", internal=True), 2)
    return world


def on_the_wire() -> World:
    world = World()
    net = world.macvlan("e", "198.51.100.0/24", "2001:db8::/64", host=250)
    world.container("one", net, 20, dns_port=5300)
    world.container("two", net, 30)
    world.join("two", world.network("b", "10.2.0.0/24", internal=True), 2)
    return world


def with_options() -> World:
    """Every driver option of a bridge that changes what is in the kernel."""
    world = World()
    apart = world.network("a", "10.1.0.0/24", "fd00:a::/64", options={ICC: "false"})
    modes = {GATEWAY_MODE[4]: "routed", GATEWAY_MODE[6]: "nat-unprotected", TRUSTED: "wg0"}
    routed = world.network("b", "10.2.0.0/24", "fd00:b::/64", options=modes)
    world.container(
        "one", apart, 2, "tcp:0.0.0.0:8001:80", "udp:2001:db8::1:8001:80", dns_port=5300
    )
    world.container("two", routed, 3, "tcp:10.2.0.3:80:80", "tcp::::8002:80")
    modes = {GATEWAY_MODE[4]: "isolated"}
    small = 1000  # bytes: a link of less than 1280 has no IPv6, so neither its settings
    inner = world.network("c", "10.3.0.0/24", internal=True, mtu_bytes=small, options=modes)
    world.join("two", inner, 2)
    world.join("one", world.network("d", "fd00:d::/64"), 2)
    return world


async def left(inner) -> list:
    """What is ours and belongs to somebody."""
    found = await inner.read(View(want={}))
    return [obj for obj in found.objects.values() if obj.owner]


async def second_apply_does_nothing(make, inner, build=two_containers):
    world, engine = build(), await make(inner)
    report = await engine.apply(world.desired, None)
    assert report.ops
    assert (await engine.apply(world.desired, None)).ops == ()
    for name in world.sandboxes:
        assert (await engine.apply(world.desired, scope(name))).ops == ()
    assert (
        await engine.apply(world.desired, scope(networks=tuple(world.networks.values())))
    ).ops == ()
    assert (await (await make(inner)).apply(world.desired, None)).ops == ()


async def plan_is_what_apply_does(make, inner, build=two_containers):
    world, engine = build(), await make(inner)
    plan = await engine.plan(world.desired, None)
    assert await left(inner) == []
    assert (await engine.apply(world.desired, None)).ops == tuple(plan)


async def scopes_add_up_to_the_whole(make, inner, build=two_containers):
    world, engine = build(), await make(inner)
    await engine.apply(world.desired, scope(networks=tuple(world.networks.values())))
    for name in world.sandboxes:
        assert (await engine.apply(world.desired, scope(name))).ops
    assert (await engine.apply(world.desired, None)).ops == ()


async def removal_leaves_nothing(make, inner, build=two_containers):
    world, engine = build(), await make(inner)
    await engine.apply(world.desired, None)
    await engine.apply(Desired(), None)
    assert await left(inner) == []


async def removal_by_a_fresh_engine_by_scope(make, inner, build=two_containers):
    world = build()
    await (await make(inner)).apply(world.desired, None)
    engine = await make(inner)
    await engine.apply(Desired(networks=world.desired.networks), scope("one", "two"))
    await engine.apply(Desired(), scope(networks=tuple(world.networks.values())))
    assert await left(inner) == []


async def a_changed_network_changes_in_place(make, inner):
    world, engine = two_containers(), await make(inner)
    await engine.apply(world.desired, None)
    world.networks = {k: replace(net, mtu_bytes=1400) for k, net in world.networks.items()}
    report = await engine.apply(world.desired, None)
    assert {op.verb for op in report.ops} == {"change"}
    assert (await engine.apply(world.desired, None)).ops == ()


async def a_port_that_moves_to_another_container(make, inner):
    world, engine = two_containers(), await make(inner)
    await engine.apply(world.desired, None)
    first, second, third = world.endpoints.values()
    target = second.addresses[0].ip
    moved = tuple(replace(port, container_ip=target) for port in first.ports[:1])
    world.endpoints[first.id] = replace(first, ports=first.ports[1:])
    world.endpoints[second.id] = replace(second, ports=second.ports + moved)
    await engine.apply(world.desired, scope("two"))
    await engine.apply(world.desired, scope("one"))
    assert (await engine.apply(world.desired, None)).ops == ()
    assert third.id in world.endpoints


async def failing_at_any_step_leaves_no_trace(make, inner, build=two_containers):
    at, failed = 1, True
    while failed:
        stepping = StepKernel(inner, at=at, then=refuse)
        engine = await make(stepping)
        try:
            await engine.apply(build().desired, None)
        except Refused:
            assert await left(inner) == [], f"after step {at}"
        else:
            failed = False
        at += 1
    assert at > 20


async def cancelling_at_any_step_leaves_no_trace(make, inner, build=two_containers):
    for at in range(1, 24, 2):
        with trio.CancelScope() as cancelling:
            engine = await make(StepKernel(inner, at=at, then=cancelling.cancel))
            await engine.apply(build().desired, None)
        assert cancelling.cancelled_caught
        assert await left(inner) == [], f"after step {at}"


async def a_failed_change_is_set_back(make, inner):
    world = two_containers()
    await (await make(inner)).apply(world.desired, None)
    before = sorted(map(repr, await left(inner)))
    wider = World()
    wider.networks = {k: replace(net, mtu_bytes=1400) for k, net in world.networks.items()}
    wider.sandboxes, wider.endpoints = world.sandboxes, world.endpoints
    for at in range(1, 6):
        engine = await make(StepKernel(inner, at=at, then=refuse))
        with pytest.raises(Refused):
            await engine.apply(wider.desired, None)
        assert sorted(map(repr, await left(inner))) == before


CASES = (
    second_apply_does_nothing,
    plan_is_what_apply_does,
    scopes_add_up_to_the_whole,
    removal_leaves_nothing,
    removal_by_a_fresh_engine_by_scope,
    a_changed_network_changes_in_place,
    a_port_that_moves_to_another_container,
    failing_at_any_step_leaves_no_trace,
    cancelling_at_any_step_leaves_no_trace,
    a_failed_change_is_set_back,
)

# what holds whatever the driver; each takes a world, too
ANYWHERE = (
    second_apply_does_nothing,
    plan_is_what_apply_does,
    scopes_add_up_to_the_whole,
    removal_leaves_nothing,
    removal_by_a_fresh_engine_by_scope,
    failing_at_any_step_leaves_no_trace,
    cancelling_at_any_step_leaves_no_trace,
)
