"""Snapshots by the clock, and the end of removed volumes."""

import pytest

from nodeagent.control import volumekeeper
from nodeagent.control.volumekeeper import VolumeKeeper
from nodeagent.model.container import MountRecord
from nodeagent.model.volume import Schedule
from tests.fakes.control import Control
from tests.fakes.records import container, volume
from voldrivers.errors import Exhausted, Unavailable


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery, volume_retention_s=100.0)


@pytest.fixture
def keeper(control):
    return VolumeKeeper(control.parts, control.copies)


def at(control, seconds):
    control.clock = lambda: seconds


def names(control):
    return sorted(control.inventory.volumes)


async def test_a_schedule_keeps_so_many_and_only_its_own(control, keeper):
    await control.inventory.put(volume(schedule=Schedule(every_s=60, keep=2)))
    await control.copies.snapshot("data", "mine")
    for now in (10_000, 10_030, 10_060, 10_120, 10_180):
        at(control, now)
        await keeper.look()
    assert names(control) == [
        "data", "data@auto-19700101T024840Z", "data@auto-19700101T024940Z", "data@mine",
    ]  # fmt: skip


async def test_a_snapshot_that_fails_is_tried_at_the_next_look(control, keeper, caplog):
    await control.inventory.put(volume(schedule=Schedule(every_s=60, keep=2)))
    control.faults.errors["volume clone"] = Exhausted("no space left")
    at(control, 10_000)
    await keeper.look()
    assert names(control) == ["data"]
    assert "no space left" in caplog.records[-1].error
    del control.faults.errors["volume clone"]
    await keeper.look()
    assert len(names(control)) == 2


async def test_removed_volumes_end_when_their_time_comes(control, keeper):
    await control.inventory.put(volume())
    kept = await control.copies.rm("data", force=False, now=False)
    assert names(control) == [kept]
    at(control, 1099)
    await keeper.look()
    assert names(control) == [kept]
    at(control, 1101)
    await keeper.look()
    assert names(control) == []
    assert control.volume_driver.there == set()


async def test_on_a_full_disk_they_end_sooner(control, keeper, monkeypatch):
    await control.inventory.put(volume(), volume("more"))
    await control.copies.rm("data", force=False, now=False)
    at(control, 1010)
    second = await control.copies.rm("more", force=False, now=False)
    shares = [0.05, 0.2]
    monkeypatch.setattr(volumekeeper, "_free_share", lambda _root: shares.pop(0))
    await keeper.look()
    assert names(control) == [second]  # the first to expire made room enough


async def test_the_health_of_volumes_in_use_is_told_when_it_changes(control, keeper):
    await control.inventory.put(volume(), volume("unused"))
    mounts = [MountRecord(type="volume", source="", target="/x", name="data")]
    record = container(mounts=mounts, phase="running")
    await control.inventory.put(record)
    await control.volumes.use.attach(record)
    control.faults.errors["volume health"] = Unavailable("no answer")
    await keeper.look()
    await keeper.look()
    del control.faults.errors["volume health"]
    await keeper.look()
    told = [(e.name, e.action) for e in control.parts.events.history(0) if "health" in e.action]
    assert told == [
        ("data", "health_status: unhealthy"),
        ("data", "health_status: healthy"),
    ]
