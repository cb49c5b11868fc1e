"""Which links a step removes."""

from dataclasses import replace

import pytest

from netdrivers.kernel.asking import removed_link
from netdrivers.plan.objects import Bridge, Macvlan, Parent, Veth
from netdrivers.plan.ops import Op

MAC = "02:00:00:00:00:01"
INSIDE = Macvlan(ns="s", name="eth0", owner="s", mark="e", parent="up0", mode="bridge", mac=MAC)
PAIR = Veth(name="ve1", owner="s", endpoint="e", bridge="br", interface="eth0", mac=MAC)


@pytest.mark.parametrize(
    ("obj", "link"),
    [
        (Bridge(name="br", owner="n", mac=MAC), ("", "br")),
        (INSIDE, ("s", "eth0")),
        (PAIR, ("", "ve1")),
        (replace(PAIR, lone="sandbox"), ("s", "eth0")),
        (Parent(name="up0.30", owner="n", kind="vlan", lower="up0", vlan_id=30), ("", "up0.30")),
        (Parent(name="up0", owner="n"), None),
    ],
)
def test_a_link_of_the_operators_is_never_removed(obj, link):
    assert removed_link(Op(verb="delete", obj=obj)) == link
    assert removed_link(Op(verb="add", obj=obj)) is None
