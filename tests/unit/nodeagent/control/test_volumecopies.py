"""Copies and moves of volumes: what is cut off at any step is finished or gone."""

import pytest
import trio
import trio.testing

from nodeagent.errors import Busy, Conflict, Invalid
from nodeagent.model.container import MountRecord
from tests.fakes.control import Control
from tests.fakes.records import container, volume
from voldrivers.errors import Exhausted


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery, volume_retention_s=100.0)


def there(control):
    return sorted(control.inventory.volumes), sorted(control.volume_driver.there)


async def make(control, *names):
    for name in names:
        await control.inventory.put(volume(name))
        control.volume_driver.there.add(name)


async def test_a_copy_that_fails_leaves_nothing(control):
    await make(control, "data")
    control.faults.errors["volume clone"] = Exhausted("no space left")
    with pytest.raises(Exhausted):
        await control.copies.snapshot("data", "one")
    assert there(control) == (["data"], ["data"])


async def test_a_copy_that_was_cut_off_is_taken_away_and_a_move_is_finished(control):
    await make(control, "data", "old")
    await control.inventory.put(
        volume("data@half", kind="snapshot", origin="data", phase="copying"),
        volume("new", phase="moving", moved_from="old"),
    )
    control.volume_driver.there.add("data@half")
    for record in list(control.inventory.volumes.values()):
        await control.copies.settle(record)
    assert there(control) == (["data", "new"], ["data", "new"])
    assert control.inventory.volumes["new"].phase == "ready"


async def test_a_move_that_got_as_far_as_the_bytes_is_finished(control):
    control.volume_driver.there.add("new")
    await control.inventory.put(volume("old"), volume("new", phase="moving", moved_from="old"))
    await control.copies.settle(control.inventory.volumes["new"])
    assert there(control) == (["new"], ["new"])


async def test_a_move_the_driver_refuses_changes_nothing(control):
    await make(control, "data")
    control.faults.errors["volume rename"] = Exhausted("no")
    with pytest.raises(Exhausted):
        await control.copies.rename("data", "new")
    assert there(control) == (["data"], ["data"])


async def test_what_is_used_is_neither_moved_nor_rolled_back(control):
    await make(control, "data")
    await control.copies.snapshot("data", "one")
    mounts = [MountRecord(type="volume", source="", target="/x", name="data")]
    record = container(mounts=mounts, phase="running")
    await control.inventory.put(record)
    for act in (
        lambda: control.copies.rename("data", "new"),
        lambda: control.copies.rm("data", force=False, now=False),
        lambda: control.copies.rm("data", force=True, now=True),
    ):
        with pytest.raises(Busy):
            await act()
    await control.volumes.use.attach(record)
    with pytest.raises(Busy):
        await control.copies.restore("data@one")
    assert there(control) == (["data", "data@one"], ["data", "data@one"])


async def test_who_mounts_while_a_restore_copies_is_not_pulled_the_rug(control):
    await make(control, "data")
    await control.copies.snapshot("data", "one")
    mounts = [MountRecord(type="volume", source="", target="/x", name="data")]
    record = container(mounts=mounts, phase="running")
    door = control.faults.shut("volume clone")
    with pytest.RaisesGroup(Busy):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.copies.restore, "data@one")
            await trio.testing.wait_all_tasks_blocked()
            await control.inventory.put(record)
            await control.volumes.use.attach(record)
            door.set()
    assert there(control) == (["data", "data@one"], ["data", "data@one"])
    assert "volume swap" not in control.faults.calls


@pytest.mark.parametrize("label", ["", "a/b", "@", "x" * 65, "-x"])
async def test_labels(control, label):
    await make(control, "data")
    if label == "":
        assert (await control.copies.snapshot("data")).name == "data@19700101T001640Z"
        return
    with pytest.raises(Invalid, match="label"):
        await control.copies.snapshot("data", label)


async def test_only_what_can_be_restored_is(control):
    await make(control, "data")
    with pytest.raises(Invalid, match="NAME@LABEL"):
        await control.copies.restore("data")
    await control.copies.snapshot("data", "one")
    with pytest.raises(Conflict):
        await control.copies.snapshot("data", "one")


async def test_the_name_of_a_removed_volume_is_enough(control):
    for now in (2000.0, 1000.0):
        control.clock = lambda now=now: now
        await make(control, "data")
        await control.copies.rm("data", force=False, now=False)
    back = await control.copies.restore("data")
    assert back.of == "data@removed-19700101T003320Z"  # the later one
    assert "data" in control.inventory.volumes


async def test_two_removals_of_one_name_in_a_second_are_two_that_can_come_back(control):
    kept = set()
    for _ in range(3):
        await make(control, "data")
        kept.add(await control.copies.rm("data", force=False, now=False))
    assert len(kept) == 3
    assert there(control) == (sorted(kept), sorted(kept))


async def test_snapshots_follow_their_volume_to_its_new_name(control):
    await make(control, "data", "database")
    for name in ("data", "database"):
        await control.copies.snapshot(name, "one")
    await control.copies.rename("data", "new")
    names = ["database", "database@one", "new", "new@one"]
    assert there(control) == (names, names)
    assert control.inventory.volumes["new@one"].origin == "new"
    assert (await control.copies.restore("new@one")).name == "new"


async def test_a_kill_amid_a_rename_leaves_no_snapshot_behind(control):
    await make(control, "data")
    await control.copies.snapshot("data", "one")
    control.faults.shut("volume rename")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.copies.rename, "data", "new")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="another name"):
            await control.copies.snapshot("data", "two")
        nursery.cancel_scope.cancel()
    control.faults.doors.clear()
    for record in list(control.inventory.volumes.values()):
        await control.copies.settle(record)
    assert there(control) == (["new", "new@one"], ["new", "new@one"])


async def test_a_rename_that_cannot_be_leaves_the_snapshots_where_they_were(control):
    await make(control, "data", "new@one")
    await control.copies.snapshot("data", "one")
    with pytest.raises(Conflict):
        await control.copies.rename("data", "new")
    await control.copies.rm("new@one", force=False, now=True)
    control.faults.errors["volume rename"] = Exhausted("no")
    with pytest.raises(Exhausted):
        await control.copies.rename("data", "new")
    assert there(control) == (["data", "data@one"], ["data", "data@one"])


async def test_a_volume_is_not_renamed_while_a_snapshot_is_made(control):
    await make(control, "data")
    door = control.faults.shut("volume clone")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.copies.snapshot, "data", "one")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(control.copies.rename, "data", "new")
        await trio.testing.wait_all_tasks_blocked()
        door.set()
    assert there(control) == (["new", "new@one"], ["new", "new@one"])
