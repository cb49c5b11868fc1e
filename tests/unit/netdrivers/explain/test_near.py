"""Hops by the first link: a macvlan's wire, a port of a bridge."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netdrivers.contract.explain import Asked
from netdrivers.explain.errand import Seen, Tidings
from netdrivers.explain.facts import Facts, Link, Route, Space
from netdrivers.explain.judge import judge
from netdrivers.explain.trip import Trip, build_trip
from tests.fakes.world import World
from tests.unit.netdrivers.explain.scene import BRIDGE, OUT, VETH_B, changed, link, trip, whole


def test_the_parent_of_a_macvlan() -> None:
    world = World()
    world.container("m", world.macvlan("m", "10.9.0.0/24"), 2)
    target = ip_address("10.9.0.7")
    asked = Asked(source="m", source_name="m", target_name="x", addresses=(target,))
    inner = Space(
        links={"eth0": Link(up=True)},
        addresses={"eth0": frozenset({ip_interface("10.9.0.2/24")})},
        to=Route(link="eth0"),
    )
    facts = Facts(spaces={"m": inner, "": Space(links={"up0": Link(up=True)})})
    way = build_trip(asked, world.desired, [])
    assert judge(way, facts).reachable is None
    assert "up0 of network m): link is down" in (
        judge(way, link(facts, "", "up0", up=False)).summary
    )
    assert "link is gone" in judge(way, changed(facts, "", links={})).summary


def outside_macvlan(**inner) -> tuple[Trip, Facts]:
    world = World()
    world.container("m", world.macvlan("m", "10.9.0.0/24"), 2)
    asked = Asked(
        source=None,
        source_ip=ip_address("10.9.0.7"),
        source_name="outside",
        target_name="m",
        addresses=(ip_address("10.9.0.2"),),
        port=80,
        protocol="tcp",
    )
    listens = frozenset({("tcp", ip_address("0.0.0.0"), 80)})
    fields = {
        "links": {"eth0": Link(up=True)},
        "addresses": {"eth0": frozenset({ip_interface("10.9.0.2/24")})},
        "back": Route(link="eth0"),
        "listeners": listens,
    }
    spaces = {"m": Space(**fields | inner), "": Space(links={"up0": Link(up=True)})}
    return build_trip(asked, world.desired, []), Facts(spaces=spaces)


def test_a_macvlan_asked_from_outside_is_not_behind_the_host() -> None:
    found = judge(*outside_macvlan())
    assert found.reachable is None, found
    assert {hop.state for hop in found.hops} == {"ok"}
    places = [hop.place for hop in found.hops]
    assert places[:2] == ["wire", "parent"]
    assert not {"publish", "isolation", "forwarding", "route"} & set(places)
    assert "past this host's rules and published ports" in found.hops[0].what


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ({"listeners": frozenset()}, "no listener on 80/tcp"),
        ({"addresses": {}}, "10.9.0.2/24 is gone"),
        ({"links": {"eth0": Link(up=False)}}, "link is down"),
        ({"back": Route(error="Network is unreachable")}, "no route back"),
    ],
)
def test_a_fault_of_a_macvlan_asked_from_outside(inner, says) -> None:
    found = judge(*outside_macvlan(**inner))
    assert found.reachable is False
    assert says in found.summary


def test_the_parent_of_a_macvlan_asked_from_outside() -> None:
    way, facts = outside_macvlan()
    assert "up0 of network m): link is down" in (
        judge(way, link(facts, "", "up0", up=False)).summary
    )


def test_a_disabled_port_is_put_right_by_one_command() -> None:
    facts = link(whole(), "", VETH_B, port_state=0)
    sent = Seen(space="a", link="eth0", outgoing=True, what="probe", big=False, text="")
    found = judge(trip(), facts, replace(facts, tidings=Tidings(seen=[sent])))
    (bad,) = [hop for hop in found.hops if hop.state == "fails"]
    assert bad.fix == f"bridge link set dev {VETH_B} state 3, or nodeagent network repair"
    down = judge(trip(), link(facts, "", BRIDGE, up=False))  # then all its ports are disabled
    assert "state 0" not in " ".join(hop.why for hop in down.hops)


REFUSED = Route(error="rule `pref 9 prohibit` refuses it", fix="ip rule del pref 9 prohibit")


@pytest.mark.parametrize(
    ("asked", "facts", "place"),
    [
        (trip(), changed(whole(), "a", to=REFUSED), "route"),
        (trip(), changed(whole(), "b", back=REFUSED), "way back"),
        (trip(target=OUT, port=0, protocol="icmp"), changed(whole(OUT), "", to=REFUSED), "route"),
    ],
)
def test_who_refuses_the_way_is_told_with_the_command_against_it(asked, facts, place) -> None:
    (bad,) = [hop for hop in judge(asked, facts).hops if hop.state == "fails"]
    assert bad.place == place
    assert "rule `pref 9 prohibit` refuses it" in bad.why
    assert bad.fix == "ip rule del pref 9 prohibit"
