"""The host driver makes nothing and refuses what would need something."""

from dataclasses import replace

import pytest

from netdrivers.errors import Invalid
from netdrivers.host import HostDriver
from tests.fakes.world import World

driver = HostDriver()


def test_it_makes_nothing():
    world = World()
    net = replace(world.network("a"), driver="host")
    world.container("s", net, 2)
    (ep,) = world.endpoints.values()
    driver.check(net)
    assert list(driver.network(net)) == []
    assert list(driver.endpoint(net, ep)) == []


def test_it_refuses_subnets_options_and_ports():
    world = World()
    net = world.network("a", "10.1.0.0/24")
    world.container("s", net, 2, "tcp:0.0.0.0:80:80")
    (ep,) = world.endpoints.values()
    with pytest.raises(Invalid, match="subnet"):
        driver.check(net)
    with pytest.raises(Invalid, match="why"):
        driver.check(replace(net, options={"why": "not"}))
    with pytest.raises(Invalid, match="ports"):
        driver.endpoint(net, ep)
