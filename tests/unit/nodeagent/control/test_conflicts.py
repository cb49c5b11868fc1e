"""Routes that come into a network's subnet: which, and that each is told once."""

from ipaddress import ip_network

import pytest

from netdrivers.contract.specs import HostRoute
from nodeagent.control.conflicts import Conflicts, find_overlaps
from tests.fakes.control import Control
from tests.fakes.records import network

DEMO, OTHER = "n" * 64, "o" * 64
NETWORKS = [network(), network(OTHER, name="other", subnet="172.20.1.0/24", gateway="172.20.1.1")]


def route(text, link="tun0"):
    return HostRoute(to=ip_network(text), link=link)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([], {}),
        (["10.0.0.0/8", "172.20.2.0/24", "fd00::/64", "172.19.255.255/32"], {}),
        (["172.20.0.0/24"], {DEMO: ["172.20.0.0/24 dev tun0"]}),
        (["172.20.0.7/32"], {DEMO: ["172.20.0.7/32 dev tun0"]}),
        (["172.20.0.0/16"], {each: ["172.20.0.0/16 dev tun0"] for each in (DEMO, OTHER)}),
        (["172.20.1.255/32", "172.20.1.0/25", "172.20.1.9/32", "172.20.1.0/32"],
         {OTHER: ["172.20.1.0/25 dev tun0", "172.20.1.255/32 dev tun0"]}),
        (["128.0.0.0/1", "0.0.0.0/1"], {}),
    ],
)  # fmt: skip
def test_what_overlaps(texts, found):
    assert find_overlaps(NETWORKS, map(route, texts)) == found


def test_wires_and_networks_that_go_are_left_out():
    gone = [network(on_wire=True), network(OTHER, phase="removing")]
    assert find_overlaps(gone, [route("172.20.0.0/24")]) == {}


async def test_each_is_told_once_and_shown_while_it_is_there(tmp_path, nursery, caplog):
    control = Control(tmp_path, nursery)
    await control.inventory.put(network())
    conflicts = Conflicts(control.parts)
    control.engine.routes = [route("172.20.0.0/16")]
    await conflicts.look()
    await conflicts.look()
    assert control.actions() == ["conflict"]
    (event,) = control.parts.events.history(0)
    assert (event.id, event.attributes) == (DEMO, {"route": "172.20.0.0/16 dev tun0"})
    assert conflicts.of(DEMO) == ["172.20.0.0/16 dev tun0"]
    assert "network conflict" in caplog.text
    control.engine.routes = []
    await conflicts.look()
    assert conflicts.of(DEMO) == []
    control.engine.routes = [route("172.20.0.0/16")]
    await conflicts.look()
    assert control.actions() == ["conflict", "conflict"]
