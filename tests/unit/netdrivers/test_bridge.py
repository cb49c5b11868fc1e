"""The bridge driver: names, options, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.bridge import (
    GATEWAY_MODE,
    HOST_BINDING,
    ICC,
    MASQUERADE,
    NAME,
    TRUSTED,
    BridgeDriver,
    link_name,
)
from netdrivers.engine import Engine
from netdrivers.errors import Invalid
from netdrivers.plan.objects import Address, Bridge, Element, Veth
from tests.fakes.apply_cases import ANYWHERE, with_options
from tests.fakes.kernel import FakeKernel
from tests.fakes.world import World, parse_port

NET = World().network("a", "10.1.0.0/24")
driver = BridgeDriver()


async def make(kernel) -> Engine:
    engine = Engine(Path("/nonexistent"), agent_id="test", kernel=kernel)
    await engine.open()
    return engine


@pytest.mark.parametrize("case", ANYWHERE, ids=lambda case: case.__name__)
async def test_apply_with_every_option(case):
    await case(make, FakeKernel(), with_options)


def elements(net) -> set[str]:
    return {obj.set for obj in driver.network(net) if isinstance(obj, Element)}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"options": {"nope": "1"}}, "it has: .*bridge.name.*option=nope"),
        ({"options": {HOST_BINDING: "999"}}, "not an IPv4.*host_binding_ipv4"),
        ({"options": {HOST_BINDING: "::1"}}, "not an IPv4.*host_binding_ipv4"),
        ({"options": {MASQUERADE: "perhaps"}}, "masquerade"),
        ({"options": {NAME: "a/b"}}, "bridge.name"),
        ({"options": {NAME: "sixteen-letters-"}}, "bridge.name"),
        ({"options": {NAME: ""}}, "bridge.name"),
        ({"options": {ICC: "maybe"}}, "enable_icc"),
        ({"options": {GATEWAY_MODE[4]: "bridge"}}, "gateway_mode_ipv4.*value=bridge"),
        ({"options": {GATEWAY_MODE[6]: "isolated"}}, "internal.*gateway_mode_ipv6"),
        ({"options": {TRUSTED: "eth1,wg0/"}}, "trusted_host_interfaces"),
        ({"options": {TRUSTED: ""}}, "trusted_host_interfaces"),
        ({"mtu_bytes": 67}, "option=com.docker.network.driver.mtu"),
        ({"mtu_bytes": 70000}, "mtu"),
    ],
)
def test_check_names_the_option(fields, word):
    with pytest.raises(Invalid, match=word):
        driver.check(replace(NET, **fields))


def test_check_wants_the_gateway_inside_and_a_large_mtu_for_v6():
    other = World().network("b", "10.2.0.0/24")
    bad = replace(NET.subnets[0], gateway=other.subnets[0].gateway)
    with pytest.raises(Invalid, match="gateway"):
        driver.check(replace(NET, subnets=(bad,)))
    with pytest.raises(Invalid, match="1280 to 65535 with IPv6 option="):
        driver.check(World().network("c", "fd00::/64", mtu_bytes=1279))
    driver.check(NET)


def test_options():
    assert link_name(NET) == "br-" + "a" * 12
    named = replace(NET, options={NAME: "br-front"})
    assert link_name(named) == "br-front"
    assert "hidden" in elements(NET)
    assert "hidden" not in elements(replace(NET, options={MASQUERADE: "false"}))
    assert elements(replace(NET, internal=True)) == {"bridges", "same", "internal", "private4"}


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_names_fit_and_the_bridges_mac_is_local_and_stable(id_):
    net = replace(NET, id=id_)
    (bridge,) = [obj for obj in driver.network(net) if isinstance(obj, Bridge)]
    assert len(bridge.name) <= 15
    assert int(bridge.mac[:2], 16) & 3 == 2
    world = World()
    world.container("s", world.network("a", "10.1.0.0/24"), 2)
    (ep,) = world.endpoints.values()
    veth = next(iter(driver.endpoint(net, replace(ep, id=id_))))
    assert isinstance(veth, Veth)
    assert len(veth.name) <= 15


def test_a_port_of_one_family_does_not_lead_to_the_other():
    world = World()
    world.container("s", world.network("a", "10.1.0.0/24", "fd00::/64"), 2, "tcp:0.0.0.0:80:80")
    (ep,) = world.endpoints.values()
    v6 = parse_port("tcp::::80:80", {6: ep.addresses[1].ip})
    crossed = replace(ep.ports[0], container_ip=v6.container_ip)
    with pytest.raises(Invalid, match="family"):
        list(driver.endpoint(NET, replace(ep, ports=(crossed,))))


@pytest.mark.parametrize(
    ("mode", "there"),
    [
        ("nat", {"hidden", "private4"}),
        ("routed", {"routed"}),
        ("nat-unprotected", {"hidden", "unprotected"}),
    ],
)
def test_gateway_modes(mode, there):
    made = elements(replace(NET, options={GATEWAY_MODE[4]: mode, GATEWAY_MODE[6]: "isolated"}))
    assert made - {"bridges", "same"} == there


def test_an_isolated_network_has_no_gateway():
    isolated = replace(NET, internal=True, options={GATEWAY_MODE[4]: "isolated"})
    driver.check(isolated)
    made = list(driver.network(isolated))
    assert not [obj for obj in made if isinstance(obj, Address)]
    assert "private4" not in elements(isolated)


def test_clients_whose_answers_would_not_come_back_are_seen_as_the_host():
    world = World()
    world.container("s", NET, 2, "tcp:0.0.0.0:80:80")
    (ep,) = world.endpoints.values()
    (ip,) = ep.served

    def ways(endpoint):
        made = driver.endpoint(NET, endpoint)
        return {obj.set: obj.match for obj in made if isinstance(obj, Element)}

    own = ways(ep)
    assert own["direct4"] == (link_name(NET), ip)
    assert "far4" not in own
    assert ways(replace(ep, default_gateway=()))["far4"] == (ip,)
    beside = ways(replace(ep, ports=(), default_gateway=()))
    assert beside == {"direct4": (link_name(NET), ip)}
