"""Races and failures of a container's life, with every other room a fake.

Covers nodeagent/control/lives.py, nodeagent/control/signalling.py.
"""

import pytest
import trio
import trio.testing

from nodeagent.errors import Busy, Conflict, Exhausted, Missing, Refused
from nodeagent.model.containerrequest import PortBinding, RestartPolicy
from tests.fakes.control import Control
from tests.fakes.records import container

ID = "a" * 64
ALWAYS = {"restart_policy": RestartPolicy(name="always")}


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


async def put(control, request=None, **fields):
    await control.inventory.put(container(request=request, **{"phase": "created", **fields}))


async def settle():
    await trio.testing.wait_all_tasks_blocked()


# --- the end ----------------------------------------------------------------------------------


async def test_a_store_that_is_full_at_the_end_ends_neither_agent_nor_container_for_ever(
    control, autojump_clock
):
    await put(control)
    await control.lifecycle.start(ID)
    control.faults.errors["commit"] = Exhausted("no space left")
    control.runtime.end(ID, 3)
    await settle()
    del control.faults.errors["commit"]
    with trio.fail_after(60):
        assert await control.lifecycle.wait(ID, "not-running") == (3, "")
    assert control.phase() == "exited"


async def test_a_removal_that_fails_at_the_end_is_told_to_those_who_wait(control, autojump_clock):
    await put(control, {"auto_remove": True})
    await control.lifecycle.start(ID)
    control.faults.errors["remove"] = Refused("the kernel said no")
    control.runtime.end(ID, 3)
    with trio.fail_after(60):
        assert (await control.lifecycle.wait(ID, "not-running"))[0] == 3
    await settle()
    assert control.phase() == "removing"


async def test_a_container_whose_monitor_left_no_trace_has_ended(control, autojump_clock):
    await put(control)
    await control.lifecycle.start(ID)
    control.runtime.up.pop(ID)[0].set()
    with trio.fail_after(60):
        assert await control.lifecycle.wait(ID, "not-running") == (255, "")


# --- start ------------------------------------------------------------------------------------


async def test_next_exit_is_that_of_the_next_run(control, autojump_clock):
    await put(control, phase="exited", exit_code=5)
    codes = []

    async def wait():
        codes.append((await control.lifecycle.wait(ID, "next-exit"))[0])

    async with trio.open_nursery() as nursery:
        for code in (1, 2):
            nursery.start_soon(wait)
            await settle()
            assert len(codes) == code - 1
            await control.lifecycle.start(ID)
            control.runtime.end(ID, code)
            await settle()
    assert codes == [1, 2]


async def test_a_port_that_is_taken_is_a_failed_start_like_any_other(control, autojump_clock):
    ports = [PortBinding(container_port=80, host_port=80)]
    request = {"auto_remove": True, "ports": ports}
    await put(control, request, network_mode="n" * 64)
    control.faults.errors["hold"] = Conflict("address already in use")
    with pytest.raises(Conflict, match="in use"):
        await control.lifecycle.start(ID)
    assert control.phase() == "gone"


async def test_a_failed_start_is_told_with_its_code(control, autojump_clock):
    await put(control)
    control.faults.errors["create"] = Missing("the command was not found", exit_code=127)
    with pytest.raises(Missing):
        await control.lifecycle.start(ID)
    code, error = await control.lifecycle.wait(ID, "not-running")
    assert (code, "not found" in error) == (127, True)


async def test_an_undo_that_cannot_be_stored_wakes_those_who_wait(control, autojump_clock):
    await put(control)
    door = control.faults.shut("create")
    control.faults.errors["create"] = Refused("no")
    async with trio.open_nursery() as nursery:

        async def start():
            with pytest.raises(Exhausted):
                await control.lifecycle.start(ID)

        nursery.start_soon(start)
        await settle()
        nursery.start_soon(control.lifecycle.wait, ID, "not-running")
        await settle()
        control.faults.errors["commit"] = Exhausted("no space left")
        door.set()


# --- policies ---------------------------------------------------------------------------------


async def test_stop_wins_over_a_restart_that_is_about_to_happen(control, autojump_clock):
    await put(control, ALWAYS)
    await control.lifecycle.start(ID)
    control.runtime.end(ID, 1)
    await settle()
    async with control.lifecycle.step(ID), trio.open_nursery() as nursery:
        nursery.start_soon(stop_later, control)
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery, control.lifecycle.step(ID):
        nursery.start_soon(stop_later, control)
        await trio.sleep(5)  # the back-off is over, its start waits for its turn behind us
    await trio.sleep(100)
    assert control.phase() == "exited"
    assert control.inventory.container(ID).stopped_by_hand


async def stop_later(control):
    await control.lifecycle.stop(ID, timeout_s=0, signal="")


@pytest.mark.parametrize("act", ["stop", "kill"])
async def test_ended_by_hand_during_the_back_off(control, autojump_clock, act):
    await put(control, ALWAYS)
    await control.lifecycle.start(ID)
    control.runtime.end(ID, 1)
    await settle()
    assert control.lifecycle.is_restarting(ID)
    if act == "stop":
        await stop_later(control)
    else:
        await control.lifecycle.kill(ID, "KILL")
    await trio.sleep(100)
    assert control.phase() == "exited"
    assert control.inventory.container(ID).stopped_by_hand, "the next agent would start it"
    assert not control.lifecycle.is_restarting(ID)


async def test_stop_during_the_back_off_does_not_wait_for_an_end(control, autojump_clock):
    await put(control, ALWAYS)
    await control.lifecycle.start(ID)
    control.runtime.end(ID, 1)
    await settle()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.lifecycle.wait, ID, "next-exit")
        await settle()
        with trio.fail_after(1):
            await stop_later(control)
        nursery.cancel_scope.cancel()


async def test_kill_of_one_that_ended_just_before_is_refused(control, autojump_clock):
    await put(control)
    await control.lifecycle.start(ID)
    async with trio.open_nursery() as nursery:

        async def kill():
            with pytest.raises(Conflict, match="does not run"):
                await control.lifecycle.kill(ID, "KILL")

        async with control.lifecycle.step(ID):
            control.runtime.end(ID, 0)
            await settle()
            nursery.start_soon(kill)
            await settle()
    assert not control.inventory.container(ID).stopped_by_hand


async def test_restart_keeps_one_that_goes_at_its_end(control, autojump_clock):
    await put(control, {"auto_remove": True})
    await control.lifecycle.start(ID)
    await control.lifecycle.restart(ID, timeout_s=1, signal="")
    assert control.phase() == "running"
    control.runtime.end(ID, 0)
    await settle()
    assert control.phase() == "gone"


async def test_restart_goes_on_without_its_caller_but_not_without_the_agent(
    control, autojump_clock
):
    await put(control)
    await control.lifecycle.start(ID)
    with trio.move_on_after(1):
        await control.lifecycle.restart(ID, timeout_s=5, signal="USR1")
    assert "stop" not in control.actions()
    await trio.sleep(10)
    assert control.actions()[-1] == "restart"
    with trio.fail_after(5), trio.move_on_after(1):
        await control.lifecycle.restart(ID, timeout_s=-1, signal="USR1")


async def test_stop_goes_on_without_its_caller(control, autojump_clock):
    await put(control)
    await control.lifecycle.start(ID)
    with trio.move_on_after(1):
        await control.lifecycle.stop(ID, timeout_s=5, signal="USR1")
    assert control.inventory.container(ID).ending == "down", "for the next agent"
    await trio.sleep(3)
    assert control.phase() == "running", "not killed early"
    await trio.sleep(2)
    assert control.phase() == "exited"
    assert control.inventory.container(ID).ending == ""


# --- pause ------------------------------------------------------------------------------------


async def test_pause_and_stop(control, autojump_clock):
    await put(control)
    await control.lifecycle.start(ID)
    await control.lifecycle.pause(ID)
    with pytest.raises(Conflict, match="paused"):
        await control.lifecycle.pause(ID)
    await stop_later(control)
    assert "unpause" in control.faults.calls, "a frozen program hears no signal"
    assert control.phase() == "exited"
    assert not control.containers.is_paused(ID)


# --- remove -----------------------------------------------------------------------------------


async def test_rm_without_force_does_not_end_what_was_started_just_before(control, autojump_clock):
    await put(control)
    door = control.faults.shut("create")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.lifecycle.start, ID)
        await settle()

        async def rm():
            with pytest.raises(Conflict, match="runs"):
                await control.lifecycle.rm(ID, force=False, volumes=False)

        nursery.start_soon(rm)
        await settle()
        door.set()
    assert control.phase() == "running"


async def test_a_removal_that_does_not_come_to_its_end_is_told(control, autojump_clock):
    await put(control)
    door = control.faults.shut("remove")
    with pytest.raises(Busy, match="remov"):
        await control.lifecycle.rm(ID, force=False, volumes=False)
    assert control.phase() == "removing"
    door.set()
    await control.lifecycle.rm(ID, force=False, volumes=False)
    assert control.phase() == "gone"


async def test_nothing_stays_in_memory_of_what_is_gone(control, autojump_clock):
    await put(control, {"auto_remove": True})
    await control.lifecycle.start(ID)
    await control.lifecycle.rm(ID, force=True, volumes=False)
    assert control.phase() == "gone"
    assert len(control.lifecycle._lives) == 0


# --- rename -----------------------------------------------------------------------------------


async def test_a_rename_during_a_step_is_not_lost(control, autojump_clock):
    await put(control)
    door = control.faults.shut("create")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.lifecycle.start, ID)
        await settle()
        nursery.start_soon(control.containers.rename, ID, "site")
        await settle()
        door.set()
    record = control.inventory.container("site")
    assert record.phase == "running"
