"""The way a packet should take, by what is wanted."""

from ipaddress import ip_address

import pytest

from netdrivers.contract.explain import Asked
from netdrivers.explain.trip import build_trip
from tests.fakes.world import World

HOST_IPS = ["198.51.100.1", "10.1.0.1", "10.2.0.1"]


@pytest.fixture
def world() -> World:
    made = World()
    net_a = made.network("a", "10.1.0.0/24", "fd00:a::/64")
    net_b = made.network("b", "10.2.0.0/24")
    made.container("a", net_a, 2)
    made.container("b", net_a, 3, "tcp:0.0.0.0:8080:80", "tcp:198.51.100.1:8080:81")
    made.container("c", net_b, 2)
    made.join("c", net_a, 4, default=False)
    made.macvlan("m", "10.9.0.0/24")
    made.container("m", made.networks["m" * 64], 2)
    return made


def trip(world, source, *targets, port=0, protocol="tcp", outside=None):
    asked = Asked(
        source=source,
        source_name="x",
        source_ip=outside and ip_address(outside),
        target_name="y",
        addresses=tuple(map(ip_address, targets)),
        port=port,
        protocol=protocol,
    )
    return build_trip(asked, world.desired, map(ip_address, HOST_IPS))


def test_one_network_is_direct(world) -> None:
    found = trip(world, "a", "10.1.0.3", port=80)
    assert found.is_direct
    assert not found.by_host
    assert (found.target, found.near.veth, found.far.veth) == (
        "b", "ve0000002a61000", "ve0000003a62000",
    )  # fmt: skip
    assert found.sandboxes == ["a", "", "b"]
    assert found.there == {("b", "eth0", False)}


def test_another_network_goes_by_the_host(world) -> None:
    found = trip(world, "a", "10.2.0.2")
    assert found.by_host
    assert found.near.bridge == "br-aaaaaaaaaaaa"
    assert found.far.bridge == "br-bbbbbbbbbbbb"


def test_the_endpoint_on_the_targets_network_is_taken(world) -> None:
    assert trip(world, "c", "10.1.0.3").near.spec.interface == "eth1"
    assert trip(world, "c", "10.1.0.3").is_direct
    assert trip(world, "c", "198.51.100.2").near.spec.interface == "eth0"


@pytest.mark.parametrize(
    ("target", "port", "leads"),
    [
        ("198.51.100.1", 8080, ("10.1.0.3", 81, "b")),  # the one for this very address
        ("10.1.0.1", 8080, ("10.1.0.3", 80, "b")),
        ("198.51.100.1", 8081, ("198.51.100.1", 8081, "")),
        ("198.51.100.9", 8080, ("198.51.100.9", 8080, None)),
    ],
)
def test_a_published_port_leads_to_its_container(world, target, port, leads) -> None:
    found = trip(world, "a", target, port=port)
    assert (str(found.ip), found.port, found.target) == leads
    assert found.by_host


def test_a_masqueraded_source_is_answered_by_the_gateway(world) -> None:
    assert trip(world, "a", "10.2.0.2").back_ip == ip_address("10.2.0.1")
    assert trip(world, "a", "10.1.0.3").back_ip == ip_address("10.1.0.2")
    assert trip(world, None, "10.1.0.3", outside="192.0.2.7").back_ip == ip_address("192.0.2.7")


def test_the_family_that_the_source_has(world) -> None:
    assert str(trip(world, "a", "fd00:a::3", "10.1.0.3").aim) == "fd00:a::3"
    assert str(trip(world, "m", "fd00:a::3", "10.1.0.3").aim) == "10.1.0.3"
    assert str(trip(world, "m", "fd00:a::3").aim) == "fd00:a::3"


@pytest.mark.parametrize(
    ("source", "target"),
    [("a", "127.0.0.1"), ("a", "10.1.0.2"), ("", "127.0.0.1"), ("", "198.51.100.1")],
)
def test_what_never_leaves_its_namespace(world, source, target) -> None:
    found = trip(world, source, target)
    assert found.is_local
    assert not found.by_host


def test_a_macvlan_has_no_bridge_and_no_pair(world) -> None:
    found = trip(world, "m", "192.0.2.1")
    assert found.is_direct
    assert (found.near.veth, found.near.bridge) == ("", "")


def test_an_outsider_comes_to_a_macvlan_by_its_wire(world) -> None:
    found = trip(world, None, "10.9.0.2", port=80, outside="10.9.0.7")
    assert found.is_from_wire
    assert not found.by_host
    assert found.sandboxes == ["", "m"]
    assert not trip(world, None, "10.1.0.3", port=80, outside="198.51.100.2").is_from_wire


def test_names_for_people(world) -> None:
    found = trip(world, "a", "10.1.0.3")
    assert (found.title(None), found.title(""), found.title("f" * 64)) == (
        "outside", "this host", "f" * 12,
    )  # fmt: skip
