"""Which links can bear macvlans, and what is said of those that cannot."""

import pytest

from netdrivers.errors import Missing, Refused
from netdrivers.kernel.codec import LinkInfo
from netdrivers.kernel.parents import GONE, find_lacking, parent_error, why_not
from netdrivers.plan.diff import build_state
from netdrivers.plan.objects import Macvlan, Parent


def link(name="up0", **fields):
    return LinkInfo(index=2, name=name, up=True, **fields)


def lacking(*objects, **links):
    return find_lacking(build_state(objects), links)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, ""),
        ({"kind": "vlan"}, ""),
        ({"kind": "bridge"}, ""),
        ({"port_of": "vrf"}, ""),
        ({"ethernet": False}, "no Ethernet"),
        ({"kind": "macvlan"}, "the link below"),
        ({"port_of": "bridge"}, "port of a bridge"),
        ({"port_of": "bond"}, "port of a bond"),
    ],
)
def test_why_not(fields, why):
    assert (why in why_not(link(**fields))) == bool(why) or not why
    assert bool(why_not(link(**fields))) == bool(why)


def test_what_lacks():
    parent = Parent(name="up0", owner="n")
    tagged = Parent(name="up0.30", owner="n", kind="vlan", lower="up0", vlan_id=30)
    assert lacking(parent) == lacking(tagged) == {"up0": GONE}
    assert lacking(parent, up0=link()) == lacking(tagged, up0=link()) == {}
    assert lacking(Parent(name="dm-1", owner="n", kind="dummy")) == {}
    on = Macvlan(ns="a", name="eth0", owner="a", mark="e", parent="up0", mode="bridge", mac="")
    assert lacking(on) == {"up0": GONE}
    assert "port" in lacking(on, up0=link(port_of="bridge"))["up0"]


def test_errors_name_what_there_is():
    missing = parent_error("up7", GONE, ["up0", "up1"])
    assert isinstance(missing, Missing)
    assert str(missing).endswith("parent=up7 there_is=up0 up1")
    assert isinstance(parent_error("tun0", "is no Ethernet link"), Refused)
