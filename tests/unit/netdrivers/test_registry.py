"""All drivers by their names, ours before those of others."""

from netdrivers.bridge import BridgeDriver
from netdrivers.registry import DRIVERS, index_drivers, load_drivers


def test_ours_are_there_under_their_own_names():
    drivers = load_drivers()
    assert {"bridge", "host", "null"} <= set(drivers)
    assert all(driver.name == name for name, driver in drivers.items())


def test_another_package_cannot_take_one_of_our_names():
    class Impostor(BridgeDriver):
        pass

    assert type(index_drivers([Impostor, *DRIVERS])["bridge"]) is BridgeDriver
