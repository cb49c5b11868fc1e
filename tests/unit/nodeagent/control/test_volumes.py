"""Volumes: no data is lost to a race, and nothing stays of what could not be made.

Covers nodeagent/control/volumeviews.py
"""

import pytest
import trio
import trio.testing

from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import MountRecord
from nodeagent.model.containerrequest import ContainerCreate, MountRequest
from nodeagent.model.volume import Schedule, VolumeCreate, VolumeUpdate
from tests.fakes.control import Control
from tests.fakes.records import container, volume
from voldrivers.errors import Exhausted, Missing, Unavailable


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


async def test_a_volume_that_cannot_be_made_is_not_there(control):
    control.faults.errors["volume create"] = Exhausted("no space left")
    with pytest.raises(Exhausted):
        await control.volumes.create(VolumeCreate(name="data"))
    assert not control.inventory.volumes


async def test_a_container_whose_volume_cannot_be_made_is_not_there(control):
    control.faults.errors["volume create"] = Exhausted("no space left")
    mounts = [MountRequest(type="volume", source="data", target="/x")]
    with pytest.raises(Exhausted):
        await control.containers.create(
            ContainerCreate(image="busybox", network_mode="none", mounts=mounts)
        )
    assert not control.inventory.containers
    assert not control.inventory.volumes
    assert not control.store.rows


async def test_prune_spares_a_volume_that_came_into_use_while_it_was_measured(control):
    await control.inventory.put(volume())
    door = control.faults.shut("volume usage")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prune, control)
        await trio.testing.wait_all_tasks_blocked()
        mounts = [MountRecord(type="volume", source="", target="/x", name="data")]
        await control.inventory.put(container(mounts=mounts))
        door.set()
    assert "data" in control.inventory.volumes


async def prune(control):
    await control.copies.prune(everything=True, now=True)


async def test_a_late_second_removal_does_not_take_a_new_volume_of_the_name(control):
    await control.inventory.put(volume())
    door = control.faults.shut("volume remove")
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(remove, control)
        await trio.testing.wait_all_tasks_blocked()
        door.set()
    await control.volumes.create(VolumeCreate(name="data"))
    assert control.volume_driver.there == {"data"}
    assert control.faults.calls.count("volume remove") == 1


async def remove(control):
    await control.volumes.rm("data", force=False)


async def test_a_removal_whose_caller_left_ends_with_the_record_gone(control):
    await control.inventory.put(volume())
    with trio.CancelScope() as scope:
        control.volume_driver.remove = cancelling(scope)
        await control.volumes.rm("data", force=False)
    assert not control.inventory.volumes


def cancelling(scope):
    async def remove(_volume):
        scope.cancel()

    return remove


async def test_the_size_of_a_broken_volume_is_not_known(control):
    control.faults.errors["volume usage"] = Missing("its data is not there")
    assert await control.volumes.used_bytes(volume()) == 0


async def test_a_volume_without_its_driver_is_listed_and_says_why(control):
    await control.inventory.put(volume(), volume("lost", driver="gone"))
    rows = {row.name: row for row in control.volumes.ls({})}
    assert rows["data"].status == "ok"
    assert rows["lost"].mountpoint == ""
    (view,) = await control.volumes.inspect(["lost"])
    assert view.health == "unhealthy"
    assert "gone" in view.health_reason
    with pytest.raises(Unavailable, match="gone"):
        await control.volumes.rm("lost", force=False)
    with pytest.raises(Invalid, match="driver"):
        await control.volumes.create(VolumeCreate(name="new", driver="gone"))


async def test_other_options_of_a_volume_that_is_there_are_refused_not_ignored(control):
    await control.volumes.create(VolumeCreate(name="data", options={"size": "1g"}))
    await control.volumes.create(VolumeCreate(name="data", options={"size": "1g"}))
    await control.volumes.create(VolumeCreate(name="data"))
    with pytest.raises(Conflict, match="options"):
        await control.volumes.create(VolumeCreate(name="data", options={"size": "2g"}))


async def test_what_no_list_has_is_refused(control):
    for filters in ({"kind": ["bogus"]}, {"bogus": ["1"]}, {"dangling": ["perhaps"]}):
        await control.inventory.put(volume())
        with pytest.raises(Invalid):
            control.volumes.ls(filters)


async def test_a_schedule_needs_a_volume_that_can_be_copied(control):
    await control.inventory.put(volume())
    control.volume_driver.abilities = lambda _volume: frozenset()
    with pytest.raises(Invalid, match="snapshots"):
        await control.volumes.update(
            VolumeUpdate(name="data", schedule=Schedule(every_s=60, keep=1))
        )
    assert control.inventory.volumes["data"].schedule is None


async def test_a_volume_is_ready_once_its_driver_made_it(control):
    door = control.faults.shut("volume create")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.volumes.create, VolumeCreate(name="data"))
        await trio.testing.wait_all_tasks_blocked()
        assert control.inventory.volumes["data"].phase == "creating"
        assert control.volumes.ls({})[0].status == "creating"
        door.set()
    assert control.inventory.volumes["data"].phase == "ready"
