"""A scrape answers, whatever one object is like."""

import pytest
import trio

from netdrivers.errors import Missing
from nodeagent.control.streams import Streams
from nodeagent.metrics.observed import VOLUMES_S, Observed
from runtime.errors import Unavailable
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network, volume
from voldrivers.errors import Refused


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


@pytest.fixture
def observed(control):
    streams = Streams(control.parts, control.sandboxes, control.containers)
    return Observed(
        control.parts, control.sandboxes, streams, control.volumes, control.addresses,
        clock=trio.current_time,
    )  # fmt: skip


async def test_a_container_that_is_going_is_left_out(control, observed):
    record = container(phase="running", network_mode="n" * 64, endpoints={"n" * 64: endpoint()})
    await control.inventory.put(network(), record)
    await control.sandboxes.open(record)
    control.runtime.usage = broken(Missing("no cgroup"))
    control.faults.errors["counters"] = Missing("no namespace")
    assert b'state="running"} 1' in await observed.render()


async def test_without_a_runtime(control, observed):
    control.runtime.runtime_name = broken(Unavailable("none works here"))
    assert b"nodeagent_build_info" in await observed.render()


def broken(error):
    def call(*_args):
        raise error

    return call


async def test_a_broken_volume_is_unhealthy_and_the_others_are_shown(control, observed):
    await control.inventory.put(volume(), volume("more"))
    assert await observed.render()
    control.faults.errors["volume usage"] = Refused("no")
    await control.inventory.put(volume("broken"))
    assert (await observed.render()).count(b'name="broken"') >= 1


async def test_a_volume_that_hangs_does_not_hold_up_a_scrape(control, observed, autojump_clock):
    await control.inventory.put(volume())
    door = control.faults.shut("volume usage")
    with trio.fail_after(VOLUMES_S + 1):
        await observed.render()
    door.set()
    assert b'name="data"' in await observed.render()


async def test_what_is_gone_is_forgotten(control, observed):
    await control.inventory.put(volume())
    await observed.render()
    await control.inventory.delete(volume())
    await observed.render()
    assert not observed._sizes
