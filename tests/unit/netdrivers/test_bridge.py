"""The bridge driver: names, options, and what it refuses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.bridge import MASQUERADE, NAME, BridgeDriver, link_name
from netdrivers.errors import Invalid
from netdrivers.plan.objects import Bridge, Element, Veth
from tests.fakes.world import World, parse_port

NET = World().network("a", "10.1.0.0/24")
driver = BridgeDriver()


def elements(net) -> set[str]:
    return {obj.set for obj in driver.network(net) if isinstance(obj, Element)}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"options": {"nope": "1"}}, "nope"),
        ({"options": {MASQUERADE: "perhaps"}}, "masquerade"),
        ({"options": {NAME: "a/b"}}, "bridge.name"),
        ({"options": {NAME: "sixteen-letters-"}}, "bridge.name"),
        ({"options": {NAME: ""}}, "bridge.name"),
        ({"mtu_bytes": 67}, "mtu"),
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
    with pytest.raises(Invalid, match="1280"):
        driver.check(World().network("c", "fd00::/64", mtu_bytes=1279))
    driver.check(NET)


def test_options():
    assert link_name(NET) == "br-" + "a" * 12
    named = replace(NET, options={NAME: "br-front"})
    assert link_name(named) == "br-front"
    assert "nat" in elements(NET)
    assert "nat" not in elements(replace(NET, options={MASQUERADE: "false"}))
    assert elements(replace(NET, internal=True)) == {"bridges", "same", "internal"}


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
