"""The guard of forwarding comes back, whoever took it, and only where forwarding is ours."""

import json

import pytest

from netdrivers.contract.specs import Desired
from netdrivers.engine import Engine

SYSCTLS = {"ipv4": "net.ipv4.ip_forward", "ipv6": "net.ipv6.conf.all.forwarding"}


@pytest.fixture
def set_forwarding(host):
    def put(value: int) -> None:
        for name in SYSCTLS.values():
            host.sh(f"sysctl -qw {name}={value}")

    return put


@pytest.fixture
def read_guards(host):
    def read() -> set[str]:
        text = host.sh("nft list set inet nodeagent-test guarded 2>&1 || true")
        _, _, elements = text.partition("elements = {")
        return {family for family in SYSCTLS if family in elements}

    return read


def forwards(host) -> set[str]:
    return {
        family for family, name in SYSCTLS.items() if host.sh(f"sysctl -n {name}").strip() == "1"
    }


@pytest.fixture
def network(world):
    return world.network("a", "10.1.0.0/24", "fd00:a::/64")


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "nft flush set inet nodeagent-test guarded",
        "nft delete table inet nodeagent-test",
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_lost_guard_comes_back(
    host, engine, world, network, run_dir, set_forwarding, read_guards, damage, restarted
):
    set_forwarding(0)
    await engine.apply(world.desired, None)
    assert forwards(host) == read_guards() == set(SYSCTLS)
    assert (await engine.apply(world.desired, None)).ops == ()
    host.sh(damage)
    assert not read_guards()
    if restarted:  # killed, and nobody remembers
        await engine.close()
        engine = Engine(run_dir, agent_id="test")
        await engine.open()
    assert (await engine.apply(world.desired, None)).ops
    assert read_guards() == set(SYSCTLS)
    assert (await engine.apply(world.desired, None)).ops == ()
    await engine.close()


async def test_foreign_traffic_is_dropped_again_after_a_flush(
    host, engine, world, network, set_forwarding
):
    set_forwarding(0)
    host.sh(
        "ip link add foreign type veth peer name beyond; ip addr add 192.0.2.1/24 dev foreign; "
        "sysctl -qw net.ipv6.conf.foreign.disable_ipv6=1 net.ipv6.conf.beyond.disable_ipv6=1; "
        "ip link set foreign up; ip link set beyond up; "
        "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev foreign"
    )
    with host.inside(host.outside):
        host.sh("ip route replace 192.0.2.0/24 via 198.51.100.1")
    await engine.apply(world.desired, None)

    def forwarded() -> int:
        before = sent(host)
        with host.inside(host.outside):
            host.sh("ping -c 3 -i 0.2 -W 1 192.0.2.9 || true")
        return sent(host) - before

    assert forwarded() == 0
    host.sh("nft flush ruleset")
    assert forwarded() == 3  # the control: without the guard they pass
    await engine.apply(world.desired, None)
    assert forwarded() == 0


def sent(host) -> int:
    """Packets that have come out where nothing of ours is."""
    (link,) = json.loads(host.sh("ip -j -s link show beyond"))
    return link["stats64"]["rx"]["packets"]


async def test_a_scoped_apply_sees_the_guard(
    host, engine, world, network, set_forwarding, read_guards, scoped
):
    set_forwarding(0)
    await engine.apply(world.desired, None)
    assert (await engine.apply(world.desired, scoped(networks=(network,)))).ops == ()
    host.sh("nft flush set inet nodeagent-test guarded")
    await engine.apply(world.desired, scoped(networks=(network,)))
    assert read_guards() == set(SYSCTLS)


async def test_forwarding_goes_off_although_the_guard_was_lost(
    host, engine, world, network, run_dir, set_forwarding
):
    set_forwarding(0)
    await engine.apply(world.desired, None)
    host.sh("nft flush ruleset")
    await engine.apply(Desired(), None)
    assert not forwards(host)
    assert not list(run_dir.glob("forwarding-*"))
    assert (await engine.apply(Desired(), None)).ops == ()


async def test_what_the_operator_turned_on_has_no_guard_and_stays(
    host, engine, world, network, set_forwarding, read_guards
):
    set_forwarding(1)
    await engine.apply(world.desired, None)
    host.sh("nft flush ruleset")
    await engine.apply(world.desired, None)
    assert not read_guards()
    await engine.apply(Desired(), None)
    assert forwards(host) == set(SYSCTLS)


async def test_a_guard_of_an_agent_that_wrote_no_note(
    host, engine, world, network, run_dir, set_forwarding, read_guards
):
    set_forwarding(0)
    await engine.apply(world.desired, None)
    await engine.close()
    for note in run_dir.glob("forwarding-*"):
        note.unlink()
    newer = Engine(run_dir, agent_id="test")
    await newer.open()
    host.sh("nft flush ruleset")
    await newer.apply(world.desired, None)
    assert read_guards() == set(SYSCTLS)
    await newer.close()


async def test_a_note_of_another_boot_does_not_count(
    host, engine, world, network, run_dir, set_forwarding, read_guards
):
    for family in SYSCTLS:
        (run_dir / f"forwarding-{family}").write_text("another-boot 1\n", "ascii")
    set_forwarding(1)
    await engine.apply(world.desired, None)
    assert not read_guards()
    await engine.apply(Desired(), None)
    assert forwards(host) == set(SYSCTLS)
