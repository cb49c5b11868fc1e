"""Attached clients: nobody waits for what will not come, and nothing stays of them."""

import pytest
import trio
import trio.testing

from nodeagent.control.streams import Streams
from nodeagent.errors import Conflict
from tests.fakes.control import Control
from tests.fakes.records import container

ID = "a" * 64


class FakeCaller:
    async def send_output(self, stream, data):
        await trio.lowlevel.checkpoint()


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


@pytest.fixture
def streams(control):
    return Streams(control.parts, control.sandboxes, control.containers)


async def attach(control, streams):
    await streams.attach(ID, FakeCaller(), stdin=False, wait=control.lifecycle.wait)


async def test_who_waits_for_a_start_is_told_of_the_removal(control, streams):
    await control.inventory.put(container(phase="created"))
    async with trio.open_nursery() as nursery:

        async def refused():
            with pytest.raises(Conflict, match="removed"):
                await attach(control, streams)

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        await control.lifecycle.rm(ID, force=False, volumes=False)


async def test_nothing_stays_of_a_client_that_left_before_the_start(control, streams):
    await control.inventory.put(container(phase="created"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attach, control, streams)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not streams._waiting
