"""Ports that are kept apart are isolated exactly where our table does not see what they send."""

from pathlib import Path

import pytest

from netdrivers.bridge import ICC


@pytest.fixture
async def apart(host, engine, world) -> None:
    net = world.network("f", "10.6.0.0/24", options={ICC: "false"})
    world.container("one", net, 2)
    world.container("two", net, 3)
    world.container("free", world.network("a", "10.1.0.0/24"), 2)
    await engine.apply(world.desired, None)


def isolated(host) -> int:
    return host.sh("bridge -d link show").count("isolated on")


async def test_ports_are_isolated_where_no_hook_keeps_them_apart(hooks, apart, host):
    assert isolated(host) == (0 if hooks else 2)


@pytest.mark.skipif(
    not Path("/proc/sys/net/bridge").exists(), reason="this kernel has no br_netfilter"
)
async def test_they_follow_when_the_hooks_are_turned_on_and_off(apart, host, engine, world):
    for on in (False, True, False):
        host.set_bridge_hooks(on=on)
        report = await engine.apply(world.desired, None)
        assert {type(op.obj).__name__ for op in report.ops} <= {"Veth"}
        assert isolated(host) == (0 if on else 2)
        assert (await engine.apply(world.desired, None)).ops == ()


async def test_a_port_that_somebody_joined_again_is_drift(apart, host, engine, world):
    host.set_bridge_hooks(on=False)
    await engine.apply(world.desired, None)
    port = next(line.split()[1] for line in host.sh("bridge -o link show").splitlines()
                if "br-ffff" in line).partition("@")[0]  # fmt: skip
    host.sh(f"bridge link set dev {port} isolated off")
    (op,) = (await engine.apply(world.desired, None)).ops
    assert op.verb == "change"
    assert isolated(host) == 2
