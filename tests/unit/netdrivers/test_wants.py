"""What the drivers said is remembered for as long as it is the same question."""

from dataclasses import replace

import pytest

from netdrivers.contract.specs import Desired
from netdrivers.errors import Missing
from netdrivers.registry import load_drivers
from netdrivers.wants import Wants
from tests.fakes.apply_cases import two_containers
from tests.fakes.world import scope


@pytest.fixture
def world():
    return two_containers()


def fresh(world):
    return Wants(load_drivers()).build(world.desired, None)


def test_scopes_are_parts_of_the_whole(world):
    wants, whole = Wants(load_drivers()), fresh(world)
    parts = [scope(name) for name in world.sandboxes]
    parts.append(scope(networks=tuple(world.networks.values())))
    found = [wants.build(world.desired, part) for part in parts]
    assert {key: obj for each in found for key, obj in each.items()} == whole


def test_after_any_change_it_is_what_it_would_be_anew(world):
    wants = Wants(load_drivers())
    assert wants.build(world.desired, None) == fresh(world)
    net = next(iter(world.networks.values()))
    world.networks[net.id] = replace(net, mtu_bytes=1400)
    assert wants.build(world.desired, None) == fresh(world)
    world.sandboxes["one"] = replace(world.sandboxes["one"], dns_port=0)
    assert wants.build(world.desired, None) == fresh(world)
    world.remove("two")
    assert wants.build(world.desired, None) == fresh(world)


def test_the_same_question_is_not_asked_again(world):
    asked = []

    class Counting:
        def __init__(self, driver):
            self._driver = driver

        def network(self, net):
            asked.append(net.id)
            return self._driver.network(net)

        def endpoint(self, net, ep):
            asked.append(ep.id)
            return self._driver.endpoint(net, ep)

    wants = Wants({name: Counting(driver) for name, driver in load_drivers().items()})
    first = wants.build(world.desired, None)
    asked.clear()
    second = wants.build(world.desired, None)
    assert asked == []
    assert all(second[key] is obj for key, obj in first.items())
    one = next(iter(world.endpoints.values()))
    world.endpoints[one.id] = replace(one, mac="02:42:00:00:00:77")
    wants.build(world.desired, None)
    assert asked == [one.id]
    wants.build(Desired(), None)
    assert wants._known == {}


def test_specs_that_point_nowhere_are_refused(world):
    wants = Wants(load_drivers())
    with pytest.raises(Missing, match="without its network"):
        wants.build(Desired(sandboxes=world.sandboxes, endpoints=world.endpoints), None)
    with pytest.raises(Missing, match="no such network driver"):
        Wants({}).build(world.desired, None)
