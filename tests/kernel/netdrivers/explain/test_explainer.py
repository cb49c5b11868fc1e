"""Questions about a host that nobody mends: each planted fault is found, and called by its name.

Covers netdrivers/explain/look.py netdrivers/explain/resolve.py
"""

from ipaddress import ip_address

import pytest
import trio

from netdrivers.contract.explain import Asked
from netdrivers.errors import Missing
from tests.kernel.netdrivers.explain.faults import FAULTS, VETH_B, drop
from tests.kernel.netdrivers.explain.flows import fill_tracking


@pytest.fixture
def ask(engine, world, two):
    async def asked(source, target, port=0, protocol="tcp", **fields):
        fields = fields if "addresses" in fields else {"addresses": (ip_address(target),), **fields}
        question = Asked(
            source=source,
            source_name="outside" if source is None else source or "host",
            target_name=target,
            port=port,
            protocol=protocol if port else "icmp",
            **fields,
        )
        return await engine.explain(world.desired, question)

    return asked


@pytest.fixture
def web(host, two):
    """b listens on port 80, both protocols and families."""
    opened = [
        host.listen(two["b"], 80, address, kind)
        for address in ("0.0.0.0", "::")
        for kind in ("tcp", "udp")
    ]
    yield
    for sock in opened:
        sock.close()


@pytest.mark.parametrize(
    "question",
    [
        ("a", "10.1.0.3", 80),
        ("a", "10.1.0.3", 80, "udp"),
        ("a", "10.1.0.3"),
        ("a", "fd00:a::3", 80),
        ("a", "fd00:a::3", 80, "udp"),
        ("a", "fd00:a::3"),
        ("a", "198.51.100.2"),
        ("a", "2001:db8::2"),
        ("a", "10.1.0.1"),
        ("a", "10.1.0.2"),
        ("b", "127.0.0.1", 80),
        ("b", "10.1.0.3", 80),
        ("a", "198.51.100.1", 8082),
        ("c", "198.51.100.1", 8080),
        ("c", "198.51.100.1", 8080, "udp"),
        ("i", "10.3.0.3"),
        ("", "10.1.0.3", 80),
        ("", "127.0.0.1", 8081),
        ("", "198.51.100.1", 8082),
        ("", "198.51.100.2"),
        ("", "127.0.0.1"),
    ],
    ids=str,
)
async def test_what_is_whole_is_reachable(ask, host, web, question) -> None:
    found = await ask(*question)
    assert found.reachable is True, show(found)
    assert all(hop.state == "ok" and not hop.why for hop in found.hops), show(found)
    assert not found.notes
    assert "nodeagent-trace" not in host.nft()


def show(found) -> str:
    return "\n".join([found.summary, *map(str, found.hops), *found.notes])


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_named(ask, host, two, web, name) -> None:
    fault = FAULTS[name]
    if fault.where:
        with host.inside(two[fault.where]):
            host.sh(fault.plant)
    elif fault.plant:
        host.sh(fault.plant)
    found = await ask(*fault.question)
    assert found.reachable is False, show(found)
    first = next((hop for hop in found.hops if hop.state == "fails"), None)
    assert first is not None, show(found)
    assert first.place == fault.place, show(found)
    missing = [words for words in fault.says if words not in found.summary]
    assert not missing, show(found)
    assert "nodeagent-trace" not in host.nft()


async def test_a_listener_on_the_loopback_only(ask, host, two) -> None:
    with host.listen(two["b"], 80, "127.0.0.1"):
        found = await ask("a", "10.1.0.3", 80)
    assert "listens on 127.0.0.1 only" in found.summary


async def test_a_full_table_of_connections(ask, host, web) -> None:
    most = fill_tracking()
    found = await ask("a", "198.51.100.2")
    assert found.reachable is False, show(found)
    assert f"conntrack is full: {most}" in found.summary


async def test_a_dead_name_server(ask, world, engine, host, two, web) -> None:
    world.container("a", world.networks["a" * 64], 2, dns_port=5353)
    names = {"name": "b", "addresses": (ip_address("10.1.0.3"),)}
    found = await ask("a", "b", 80, **names)
    assert found.reachable is False, show(found)
    assert "nodeagent-dns" in found.summary  # its redirect was not applied
    await engine.apply(world.desired, None)
    found = await ask("a", "b", 80, **names)
    assert "dns of a (127.0.0.11): the name server is dead for it: " in found.summary


async def test_a_name_without_a_record(ask, two, web) -> None:
    fields = {"name": "b", "no_name": "b is on no network of a", "addresses": ()}
    found = await ask("a", "b", 80, **fields)
    assert found.reachable is False
    assert found.summary == "a to b: not reachable: name of a (b): b is on no network of a"
    found = await ask("a", "b", 80, **fields | {"addresses": (ip_address("10.1.0.3"),)})
    assert found.reachable is False
    assert "name of a (b is 10.1.0.3): b is on no network of a" in found.summary


@pytest.mark.parametrize(
    ("question", "reachable", "says"),
    [
        (("198.51.100.1", 8082), None, "not tried"),
        (("10.1.0.3", 80), False, "nothing from outside is let in to network a"),
        (("198.51.100.1", 9999), False, "not published"),
    ],
)
async def test_from_outside_without_a_probe(ask, web, question, reachable, says) -> None:
    found = await ask(None, *question, source_ip=ip_address("198.51.100.2"))
    assert found.reachable is reachable, show(found)
    assert says in found.summary


async def test_someones_notrack_before_a_published_port(ask, host, web) -> None:
    question, outsider = ("198.51.100.1", 8082), {"source_ip": ip_address("198.51.100.2")}
    assert host.connect(host.outside, *question)
    rule = drop("ip", "prerouting", "tcp dport 8082", "-300").replace("8082 drop", "8082 notrack")
    host.sh(rule)
    assert not host.connect(host.outside, *question)
    found = await ask(None, *question, **outsider)
    (bad,) = [hop for hop in found.hops if hop.state == "suspect"]
    assert "of chain stop in table ip foreign" in found.summary
    host.sh(bad.fix)
    assert host.connect(host.outside, *question)
    assert "nothing found in the way" in (await ask(None, *question, **outsider)).summary


async def test_without_a_probe_what_is_read_is_enough_for_most(ask, host, two, web) -> None:
    host.sh(f"ip link set {VETH_B} down")
    found = await ask("a", "10.1.0.3", 80, probe=False)
    assert found.reachable is False
    assert VETH_B in found.summary


async def test_a_target_that_is_gone(ask, engine, host, two, web) -> None:
    host.libc.unmount(two["b"])
    found = await ask("a", "10.1.0.3", 80)
    assert "namespace is gone" in " ".join(hop.why for hop in found.hops)
    host.libc.unmount(two["a"])
    with pytest.raises(Missing, match="no network namespace"):
        await ask("a", "10.1.0.3", 80)


async def test_a_macvlan_is_on_the_wire_of_its_parent(ask, engine, world, host) -> None:
    net = world.macvlan("m", "198.51.100.0/24", parent="up0")
    world.container("m", net, 9)
    await engine.apply(world.desired, None)
    found = await ask("m", "198.51.100.2")
    assert found.reachable is True, show(found)
    with host.listen(host.outside, 80):
        found = await ask("m", "198.51.100.2", 80)
    assert found.reachable is True, show(found)
    found = await ask("m", "198.51.100.77")
    assert "nobody answers for 198.51.100.77" in found.summary
    host.sh("ip link set up0 down")
    found = await ask("m", "198.51.100.2")
    assert "up0 of network m): link is down" in found.summary


async def test_an_outsider_asks_for_a_macvlan(ask, engine, world, host, run_dir) -> None:
    net = world.macvlan("m", "198.51.100.0/24", parent="up0")
    world.container("m", net, 9)
    await engine.apply(world.desired, None)
    outsider = {"source_ip": ip_address("198.51.100.2")}
    found = await ask(None, "198.51.100.9", 80, **outsider)
    assert "no listener on 80/tcp" in found.summary
    with host.listen(run_dir / "netns" / "m", 80):
        found = await ask(None, "198.51.100.9", 80, **outsider)
        assert host.connect(host.outside, "198.51.100.9", 80)
    assert found.reachable is None, show(found)
    assert "nothing found in the way" in found.summary


async def test_two_at_once_do_not_see_each_other(ask, host, web) -> None:
    found = {}

    async def one(name, *question):
        found[name] = await ask(*question)

    host.sh(drop("ip", "forward", "ip daddr 198.51.100.2"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "good", "a", "10.1.0.3", 80)
        nursery.start_soon(one, "bad", "a", "198.51.100.2")
        nursery.start_soon(one, "other", "c", "198.51.100.1", 8080)
    wanted = {"good": True, "bad": False, "other": True}
    for name, reachable in wanted.items():
        assert found[name].reachable is reachable, show(found[name])
    assert "nodeagent-trace" not in host.nft()


async def test_a_mended_fault_does_not_stay_the_answer(ask, host, web) -> None:
    async def mend():
        await trio.sleep(0.02)  # after the first look, most likely; before it, all is well
        host.sh(f"ip link set {VETH_B} up")

    host.sh(f"ip link set {VETH_B} down")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mend)
        found = await ask("a", "10.1.0.3", 80)
    assert found.reachable is True, show(found)


async def test_containers_that_their_network_keeps_apart(ask, engine, world, host) -> None:
    options = {"com.docker.network.bridge.enable_icc": "false"}
    net = world.network("d", "10.4.0.0/24", options=options)
    for name, number in (("x", 2), ("y", 3)):
        world.container(name, net, number)
    await engine.apply(world.desired, None)
    found = await ask("x", "10.4.0.3")
    assert found.reachable is False, show(found)
    assert "containers of network d are kept apart" in found.summary
