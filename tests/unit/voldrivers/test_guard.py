"""Every call of a driver ends, and what hangs costs only its own."""

import pytest
import trio

from voldrivers.contract import VolumeSpec
from voldrivers.errors import Missing, Unavailable
from voldrivers.guard import LONG_S, LOOK_S, Guarded
from voldrivers.tmpfs import Tmpfs

DATA, OTHER = VolumeSpec(name="data"), VolumeSpec(name="other")


class Hanging(Tmpfs):
    """Waits for ever for one volume; for the other it answers."""

    async def usage(self, volume):
        if volume == DATA:
            await trio.sleep_forever()
        raise Missing("its data is not there")

    async def health(self, volume):
        return await self.usage(volume)

    async def mount(self, volume, user):
        return await self.usage(volume)


@pytest.fixture
def driver(tmp_path):
    return Guarded(Hanging(tmp_path))


async def test_what_hangs_is_told_in_time_and_then_at_once(driver, autojump_clock):
    began = trio.current_time()
    with pytest.raises(Unavailable, match="mount"):
        await driver.mount(DATA, "c")
    assert trio.current_time() - began == LONG_S
    assert driver.state(DATA).breaker == "open"
    with pytest.raises(Unavailable, match="does not answer"):
        await driver.mount(DATA, "c")
    assert trio.current_time() - began == LONG_S
    assert driver.state(OTHER).breaker == "closed"
    with pytest.raises(Missing):
        await driver.mount(OTHER, "c")


async def test_looks_are_never_errors(driver, autojump_clock):
    began = trio.current_time()
    assert (await driver.usage(DATA)).used_bytes == -1
    assert trio.current_time() - began == LOOK_S
    health = await driver.health(DATA)
    assert health.state == "unhealthy"
    assert "does not answer" in health.reason
    assert (await driver.health(OTHER)).reason.startswith("its data is not there")
    counts = {(operation, result): n for operation, result, n, _ in driver.timings()}
    assert counts["usage", "timeout"] == 1
    assert counts["health", "refused"] == 1
    assert counts["health", "error"] == 1


async def test_a_caller_that_leaves_says_nothing_of_the_driver(driver, autojump_clock):
    with trio.move_on_after(1):
        await driver.mount(DATA, "c")
    assert driver.state(DATA).breaker == "closed"


async def test_what_the_driver_is_shows_through(driver):
    assert (driver.name, driver.scope, driver.abilities(DATA)) == ("tmpfs", "local", frozenset())
    assert driver.domain(DATA) == "data"
    assert driver.mountpoint(DATA).name == "_data"
    with pytest.raises(Exception, match="clone"):
        await driver.clone(DATA, OTHER)
