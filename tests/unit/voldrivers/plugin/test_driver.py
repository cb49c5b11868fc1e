"""A plugin as a driver: one that behaves, and all the ways in which one can not."""

import pytest
import trio

from tests.fakes.plugin import FakePlugin
from voldrivers.breaker import REST_S
from voldrivers.contract import VolumeSpec
from voldrivers.errors import Refused, Unavailable
from voldrivers.guard import Guarded
from voldrivers.plugin.driver import GREET_S, Plugin

V = VolumeSpec(name="v", driver="p", options={"size": "1"})


@pytest.fixture
def plugin(tmp_path):
    made = FakePlugin(tmp_path / "p.sock")
    yield made
    made.close()


@pytest.fixture
def driver(tmp_path):
    return Plugin("p", (tmp_path,))


async def test_as_docker_asks(plugin, driver):
    await driver.create(V)
    assert str(await driver.mount(V, "c1")) == "/nowhere"
    await driver.unmount(V, "c1", last=True)
    assert (await driver.health(V)).state == "healthy"
    await driver.remove(V)
    assert driver.scope == "global"
    assert plugin.bodies == [
        ("/Plugin.Activate", {}),
        ("/VolumeDriver.Capabilities", {}),
        ("/VolumeDriver.Create", {"Name": "v", "Opts": {"size": "1"}}),
        ("/VolumeDriver.Mount", {"Name": "v", "ID": "c1"}),
        ("/VolumeDriver.Unmount", {"Name": "v", "ID": "c1"}),
        ("/VolumeDriver.Get", {"Name": "v"}),
        ("/VolumeDriver.Remove", {"Name": "v"}),
    ]


async def test_of_a_mount_that_was_refused_no_unmount_is_told(plugin, driver):
    plugin.answers["/VolumeDriver.Mount"] = {"Err": "no disk"}
    with pytest.raises(Refused, match="no disk"):
        await driver.mount(V, "c1")
    await driver.unmount(V, "c1", last=True)
    assert not plugin.calls["/VolumeDriver.Unmount"]


async def test_a_volume_that_the_plugin_lost_can_be_removed(plugin, driver):
    plugin.answers["/VolumeDriver.Get"] = {"Volume": None, "Err": ""}
    assert "no such volume" in (await driver.health(V)).reason
    plugin.answers["/VolumeDriver.Remove"] = {"Err": "volume not found"}
    await driver.remove(V)
    plugin.answers["/VolumeDriver.Get"] = {"Volume": {"Name": "v"}, "Err": ""}
    with pytest.raises(Refused, match="volume not found"):
        await driver.remove(V)


GARBAGE = (
    b"garbage\r\n\r\n",
    b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b" " * 2_000_000,
)


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize(
    "call", ["/Plugin.Activate", "/VolumeDriver.Capabilities", "/VolumeDriver.Get"]
)
async def test_garbage_is_unavailable_and_the_next_answer_counts(plugin, driver, raw, call):
    plugin.raw[call] = raw
    with pytest.raises(Unavailable):
        await driver.health(V)
    plugin.raw.clear()
    assert (await driver.health(V)).state == "healthy"


async def test_one_that_never_answers_costs_a_look_and_then_nothing(plugin, driver, tmp_path):
    plugin.raw["/VolumeDriver.Get"] = None
    guarded = Guarded(driver)
    began = trio.current_time()
    assert (await guarded.health(V)).state == "unhealthy"
    first = trio.current_time() - began
    assert (await guarded.health(V)).state == "unhealthy"
    assert trio.current_time() - began < 2 * first
    assert guarded.state(V).breaker == "open"
    assert plugin.calls["/VolumeDriver.Get"] == 1


async def test_what_comes_after_a_call_that_hung_does_not_wait_as_long_as_a_mount(plugin, driver):
    guarded = Guarded(driver)
    await guarded.create(V)
    plugin.raw = dict.fromkeys(plugin.answers)
    assert (await guarded.health(V)).state == "unhealthy"
    began = trio.current_time()
    with pytest.raises(Unavailable, match="does not answer"):
        await guarded.mount(V, "c1")  # the breaker is open
    assert trio.current_time() - began < GREET_S / 2
    await trio.sleep(REST_S)  # what is tested is the call after it
    assert guarded.state(V).breaker == "half-open"
    began = trio.current_time()
    with pytest.raises(Unavailable, match="does not answer; no word"):
        await guarded.mount(V, "c1")
    assert trio.current_time() - began < 2 * GREET_S
    assert plugin.calls["/VolumeDriver.Mount"] == 0
    plugin.raw = {}
    await trio.sleep(2 * REST_S)  # doubled by the trial that failed
    assert guarded.state(V).breaker == "half-open"
    assert str(await guarded.mount(V, "c1")) == "/nowhere"
    assert guarded.state(V).breaker == "closed"


async def test_one_that_is_just_starting_is_waited_for(tmp_path, driver):
    made = []

    async def start():
        await trio.sleep(1)  # what is tested is that somebody waits
        made.append(FakePlugin(tmp_path / "p.sock"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await driver.create(V)
    assert made[0].calls["/VolumeDriver.Create"] == 1
    made[0].close()
    with pytest.raises(Unavailable, match="no plugin"):
        await driver.health(V)


async def test_one_that_restarts_elsewhere_is_found_without_an_error(tmp_path, driver):
    (tmp_path / "p").mkdir()
    for place in ("p.sock", "p/p.sock"):
        plugin = FakePlugin(tmp_path / place)
        assert (await driver.health(V)).state == "healthy"
        assert plugin.calls["/Plugin.Activate"] == 1
        plugin.close()


async def test_a_plugin_for_something_else(plugin, driver):
    plugin.answers["/Plugin.Activate"] = {"Implements": ["NetworkDriver"]}
    with pytest.raises(Refused, match="not for volumes"):
        await driver.create(V)
