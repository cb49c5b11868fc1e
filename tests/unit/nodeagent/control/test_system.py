"""The agent's own figures, while things come and go."""

import pytest
import trio
import trio.testing

from nodeagent.control.imaging import Imaging
from nodeagent.control.system import System
from runtime.errors import Unavailable
from tests.fakes.control import Control
from tests.fakes.records import container, volume


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


@pytest.fixture
def system(control):
    return System(control.parts, Imaging(control.parts), control.volumes, control.sizes)


async def test_df_while_objects_come_and_go(control, system):
    await control.inventory.put(volume(), container())
    door = control.faults.shut("volume usage")
    rows = []
    async with trio.open_nursery() as nursery:

        async def df():
            rows.extend(await system.df())

        nursery.start_soon(df)
        await trio.testing.wait_all_tasks_blocked()
        await control.inventory.put(volume("more"), container("b" * 64, name="more"))
        door.set()
    assert [row.type for row in rows] == ["Images", "Containers", "Local Volumes"]


async def test_info_without_a_runtime(control, system):
    def none():
        raise Unavailable("no runtime works here")

    control.runtime.runtime_name = none
    assert system.info().runtime == ""
