"""Which stopped containers a prune removes, and what it says they took."""

import msgspec
import pytest
import trio
import trio.testing

from nodeagent.control.times import build_time
from nodeagent.errors import Invalid
from tests.fakes.control import Control
from tests.fakes.records import container

ID = "a" * 64


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


async def test_prune_goes_on_past_what_was_started_meanwhile(control, autojump_clock):
    other = "b" * 64
    await control.inventory.put(container(phase="created"))
    await control.inventory.put(container(other, name="other"))
    door = control.faults.shut("create")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.lifecycle.start, ID)
        await trio.testing.wait_all_tasks_blocked()
        found = []

        async def prune():
            found.extend((await control.pruner.prune({})).deleted)

        record = control.inventory.container(ID)
        control.inventory.containers[ID] = msgspec.structs.replace(record, phase="created")
        nursery.start_soon(prune)
        await trio.testing.wait_all_tasks_blocked()
        control.inventory.containers[ID] = record
        door.set()
    assert found == [other]


async def test_prune_takes_what_the_filters_mean_and_sums_their_layers(control):
    control.clock = lambda: 1e6
    old, kept, young = "b" * 64, "c" * 64, "d" * 64
    now = control.parts.now()
    await control.inventory.put(container(old, name="old", created=build_time(now - 7200)))
    labelled = container(kept, name="kept", created=build_time(now - 7200), labels={"keep": ""})
    await control.inventory.put(labelled)
    await control.inventory.put(container(young, name="young", created=build_time(now - 60)))
    control.roots.sizes = {old: 4096, kept: 1, young: 2}

    with pytest.raises(Invalid, match="not a time"):
        await control.pruner.prune({"until": ["soon"]})
    found = await control.pruner.prune({"until": ["1h"], "label!": ["keep"]})

    assert (found.deleted, found.space_reclaimed) == ([old], 4096)
    assert set(control.inventory.containers) == {kept, young}
