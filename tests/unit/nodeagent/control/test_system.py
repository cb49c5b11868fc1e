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
    imaging = Imaging(control.parts)
    return System(control.parts, imaging, control.volumes, control.sizes, control.containers)


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


async def ask(system, **asked):
    found = []

    async def send(event):
        found.append(event.action)

    await system.events(send, **{"since": "", "until": "", "filters": {}, **asked})
    return found


async def test_events_until_a_past_moment_begin_with_the_first_kept(control, system):
    control.parts.events.publish("volume", "create", "v", "v")
    assert await ask(system, until="0s") == ["create"]
    assert await ask(system, until="1h") == []


async def test_events_by_label_of_their_container(control, system):
    events = control.parts.events
    events.tell(container(labels={"app": "shop", "name": "x"}), "start")
    events.tell(container("b" * 64, labels={"app": "bank"}), "die", exitCode="0")
    for wanted, found in (
        (["app"], ["start", "die"]),
        (["app=shop"], ["start"]),
        (["app", "name=x"], ["start"]),
        (["app=none"], []),
    ):
        assert await ask(system, until="0s", filters={"label": wanted}) == found


async def test_info_counts_the_paused(control, system):
    await control.inventory.put(
        container(phase="running"), container("b" * 64, name="more", phase="running")
    )
    control.containers.is_paused = lambda id_: id_ == "b" * 64
    info = system.info()
    assert (info.containers_running, info.containers_paused) == (1, 1)
