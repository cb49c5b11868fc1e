"""The host and null drivers make nothing and refuse what would need something."""

from dataclasses import replace

import pytest

from netdrivers.errors import Invalid
from netdrivers.mode import HostDriver, NullDriver
from tests.fakes.world import World

DRIVERS = pytest.mark.parametrize("driver", [HostDriver(), NullDriver()], ids=["host", "null"])


@DRIVERS
def test_it_makes_nothing(driver):
    world = World()
    net = replace(world.network("a"), driver=driver.name)
    world.container("s", net, 2)
    (ep,) = world.endpoints.values()
    driver.check(net)
    assert list(driver.network(net)) == []
    assert list(driver.endpoint(net, ep)) == []


@DRIVERS
def test_it_refuses_subnets_options_and_ports(driver):
    world = World()
    net = world.network("a", "10.1.0.0/24")
    world.container("s", net, 2, "tcp:0.0.0.0:80:80")
    (ep,) = world.endpoints.values()
    with pytest.raises(Invalid, match=f"{driver.name} driver takes no subnet"):
        driver.check(net)
    with pytest.raises(Invalid, match="why"):
        driver.check(replace(net, options={"why": "not"}))
    with pytest.raises(Invalid, match="ports"):
        driver.endpoint(net, ep)
