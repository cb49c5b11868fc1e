"""Mounts are given back, whatever hangs, and nobody waits for it."""

import pytest
import trio

from nodeagent.control.volumeuse import PERIOD_S, build_claims
from nodeagent.errors import Busy
from nodeagent.model.container import IdRangeRecord, MountRecord
from tests.fakes.control import Control
from tests.fakes.records import container, volume
from voldrivers.errors import Missing, Unavailable


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


def mount(name="data", target="/x", **fields):
    return MountRecord(type="volume", source="", target=target, name=name, **fields)


async def put(control, *mounts, phase="running", **fields):
    record = container(mounts=list(mounts), phase=phase, **fields)
    await control.inventory.put(record)
    return record


async def test_mounts_have_leases_and_both_go(control):
    await control.inventory.put(volume(), volume("more"))
    record = await put(control, mount(), mount("more", "/y", read_only=True))
    use = control.volumes.use
    assert await use.attach(record) == {"data": "/volumes/data", "more": "/volumes/more"}
    assert {each.access for each in control.parts.leases.held(record.id)} == {"rw", "ro"}
    await use.detach(record.id)
    assert control.parts.leases.all() == []
    assert control.volume_driver.mounted == {"data": set(), "more": set()}


async def test_of_a_mount_that_fails_nothing_stays(control):
    await control.inventory.put(volume(), volume("more"))
    record = await put(control, mount(), mount("more", "/y"))
    control.faults.errors["volume mount"] = Missing("its data is not there")
    with pytest.raises(Missing):
        await control.volumes.use.attach(record)
    assert control.parts.leases.all() == []


async def test_a_second_writer_is_refused_before_anything_is_mounted(control):
    await control.inventory.put(volume(sharing="onewriter"))
    await control.volumes.use.attach(await put(control, mount()))
    second = await put(control, mount(), id="b" * 64, name="second")
    with pytest.raises(Busy, match="onewriter"):
        await control.volumes.use.attach(second)
    assert len(control.volume_driver.mounted["data"]) == 1
    reader = await put(control, mount(read_only=True), id="c" * 64, name="reader")
    assert await control.volumes.use.attach(reader)


async def test_an_unmount_that_fails_is_owed_and_paid_later(control, nursery, autojump_clock):
    await control.inventory.put(volume())
    record = await put(control, mount())
    use = control.volumes.use
    await use.attach(record)
    control.faults.errors["volume unmount"] = Unavailable("no answer")
    await use.detach(record.id)
    await put(control, mount(), phase="exited")
    (lease,) = control.parts.leases.all()
    assert lease.leaving
    await control.inventory.delete(control.inventory.containers[record.id])
    with pytest.raises(Busy, match="unmounted"):
        await control.volumes.rm("data", force=False)
    nursery.start_soon(use.run)
    await trio.sleep(PERIOD_S * 2.5)  # the fake's clock
    del control.faults.errors["volume unmount"]
    await trio.sleep(100)
    assert control.parts.leases.all() == []
    await control.volumes.rm("data", force=False)


async def test_a_driver_that_hangs_holds_up_no_stop(control, autojump_clock):
    await control.inventory.put(volume(), volume("more"))
    record = await put(control, mount(), mount("more", "/y"))
    await control.volumes.use.attach(record)
    door = control.faults.shut("volume unmount")
    with trio.fail_after(20):
        await control.volumes.use.detach(record.id)
    assert all(each.leaving for each in control.parts.leases.all())
    door.set()


async def test_of_two_that_leave_at_once_one_is_the_last(control):
    await control.inventory.put(volume())
    both = [await put(control, mount(), id=each * 64, name=each) for each in "ab"]
    for record in both:
        await control.volumes.use.attach(record)
    async with trio.open_nursery() as nursery:
        for record in both:
            nursery.start_soon(control.volumes.use.detach, record.id)
    assert control.parts.leases.all() == []  # the fake checks who says that it is the last


async def test_what_a_killed_agent_held_for_nobody_is_given_back(control, nursery, autojump_clock):
    await control.inventory.put(volume())
    running = await put(control, mount())
    gone = await put(control, mount(), id="b" * 64, name="gone", phase="exited")
    await control.volumes.use.attach(running)
    await control.volumes.use.attach(gone)
    nursery.start_soon(control.volumes.use.run)
    await trio.sleep(1)  # the fake's clock
    assert [each.holder for each in control.parts.leases.all()] == [running.id]


async def test_what_runs_gets_its_lease_at_start_and_who_lost_it_is_told(control):
    await control.inventory.put(volume(sharing="none"))
    one = await put(control, mount())
    await put(control, mount(), id="b" * 64, name="second")
    with control.parts.events.subscribe(0) as events:
        await control.volumes.use.adopt()
        event = await events.receive()
    assert len(control.parts.leases.held(one.id)) == 1
    assert (event.action, event.name) == ("lease-lost", "second")


def test_a_volume_mounted_twice_is_one_claim():
    mounts = [mount(read_only=True), mount(target="/y"), mount("other", "/z", read_only=True)]
    claims = build_claims(container(mounts=mounts), {"other": volume("other", sharing="readonly")})
    assert {(each.volume, each.access, each.sharing) for each in claims} == {
        ("data", "rw", "all"),
        ("other", "ro", "readonly"),
    }


async def test_a_healed_mount_comes_to_who_can_read_it(control, nursery, autojump_clock):
    """Owners are not mapped in the new one: to ids of a namespace its files are nobody's."""
    await control.inventory.put(volume())
    mapped = IdRangeRecord(first=1 << 20, count=65536)
    for record in (
        await put(control, mount()),
        await put(control, mount(target="/mapped"), id="b" * 64, name="mapped", ids=mapped),
    ):
        await control.volumes.use.attach(record)
    control.volume_driver.heals = True
    nursery.start_soon(control.volumes.use.run)
    await trio.sleep(PERIOD_S + 1)
    assert control.parts.part_mounts.grafted == ["/x"]
    told = [each for each in control.parts.events.history(0) if each.action == "volume-stale"]
    assert [each.id for each in told] == ["b" * 64]
