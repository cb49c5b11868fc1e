"""When containers are probed and what follows, with every other room a fake."""

from itertools import pairwise

import pytest
import trio
import trio.testing

from nodeagent.control.checkups import RETRY_S
from nodeagent.errors import Exhausted
from nodeagent.model.health import HealthRecord
from tests.fakes.control import Control
from tests.fakes.records import container

ID = "a" * 64


@pytest.fixture
def control(tmp_path, nursery):
    made = Control(tmp_path, nursery)
    made.clock = lambda: 1000.0 + trio.current_time()
    return made


def check(**fields):
    basis = {
        "test": ["CMD", "true"], "args": ["true"], "interval_s": 10.0, "timeout_s": 1.0,
        "start_period_s": 0.0, "start_interval_s": 2.0, "retries": 2,
    }  # fmt: skip
    return HealthRecord(**{**basis, **fields})


async def run(control, request=None, **fields):
    record = container(request=request, phase="created", health=check(**fields))
    await control.inventory.put(record)
    await control.lifecycle.start(ID)


def status(control):
    return control.containers.health_of(ID).status


async def fail(_sink):
    return 1


async def test_the_pace(control, autojump_clock):
    control.runtime.answer = fail
    await run(control)
    began = trio.current_time()
    await trio.sleep(25)
    assert [round(at - began) for at in control.runtime.probed] == [2, 4, 6, 8, 10, 20]
    assert status(control) == "unhealthy"
    control.runtime.answer = _pass
    await trio.sleep(10)
    assert status(control) == "healthy"
    assert [each for each in control.actions() if each.startswith("health")] == [
        "health_status: unhealthy", "health_status: healthy"
    ]  # fmt: skip


async def _pass(_sink):
    return 0


async def _hang(_sink):
    await trio.sleep_forever()


async def test_a_probe_has_its_time_and_its_output_a_bound(control, autojump_clock):
    async def hang(sink):
        sink(b"x" * 5000)
        sink(b"y")
        await trio.sleep_forever()

    control.runtime.answer = hang
    await run(control)
    await trio.sleep(4)
    (first,) = control.containers.health_of(ID).log
    assert first.exit_code == -1
    assert first.output == "Health check exceeded timeout (1s): " + "x" * 4096
    assert control.lifecycle.probe_counts == {"passed": 0, "failed": 0, "timed_out": 1}


async def test_no_probe_while_paused(control, autojump_clock):
    await run(control)
    await trio.sleep(3)
    await control.lifecycle.pause(ID)
    await trio.sleep(100)
    assert len(control.runtime.probed) == 1
    await control.lifecycle.unpause(ID)
    await trio.sleep(10)
    assert len(control.runtime.probed) == 2


async def test_what_a_probe_found_that_was_frozen_does_not_count(control, autojump_clock):
    async def freeze(_sink):
        await control.lifecycle.pause(ID)
        return 1

    await run(control, retries=1, start_interval_s=20.0)
    control.runtime.answer = freeze
    await trio.sleep(100)
    assert status(control) == "starting"


async def test_the_end_of_the_container_ends_its_probes(control, autojump_clock):
    await run(control)
    await trio.sleep(3)
    control.runtime.answer = _hang
    await trio.sleep(9.5)  # a probe hangs
    with trio.fail_after(0.1):
        await control.lifecycle.stop(ID, timeout_s=None, signal="")
    count = len(control.runtime.probed)
    await trio.sleep(100)
    assert len(control.runtime.probed) == count
    assert status(control) == "healthy"  # as it was when it ended


async def test_what_we_cannot_do_is_tried_again_and_ends_nothing(control, autojump_clock):
    control.faults.errors["probe"] = RuntimeError("no descriptor left")
    await run(control)
    await trio.sleep(2 + RETRY_S + 0.1)
    del control.faults.errors["probe"]
    await trio.sleep(RETRY_S)
    assert status(control) == "healthy"
    control.runtime.end(ID, 3)
    await trio.testing.wait_all_tasks_blocked()
    assert control.phase() == "exited"


async def test_what_the_next_agent_has_to_know_is_stored_in_the_end(control, autojump_clock):
    await run(control)
    control.faults.errors["commit"] = Exhausted("no space left")
    await trio.sleep(3)
    assert status(control) == "healthy"
    assert not control.inventory.container(ID).was_healthy
    del control.faults.errors["commit"]
    await trio.sleep(30)
    assert control.inventory.container(ID).was_healthy
    await control.lifecycle.restart(ID, timeout_s=0, signal="")
    assert not control.inventory.container(ID).was_healthy


def starts(control):
    return [e.time_ns / 1e9 for e in control.parts.events.history(0) if e.action == "start"]


async def test_restarts_come_more_and_more_slowly(control, autojump_clock):
    control.runtime.answer = fail
    await run(control, {"stop_timeout_s": 0}, on_unhealthy="restart", interval_s=1.0, retries=1)
    await trio.sleep(300)
    times = starts(control)
    gaps = [b - a for a, b in pairwise(times)]
    wanted = [1.1, 1.2, 1.4, 1.8, 2.6, 4.2, 7.4, 13.8, 26.6, 52.2, 61.0]
    assert gaps[:11] == pytest.approx(wanted[: len(gaps)], abs=0.05)
    assert len(gaps) >= 9


async def test_well_again_before_its_turn_it_is_left_alone(control, autojump_clock):
    control.runtime.answer = fail
    await run(control, {"stop_timeout_s": 0}, on_unhealthy="restart", interval_s=0.03, retries=1)
    await trio.sleep(0.05)
    assert status(control) == "unhealthy"
    control.runtime.answer = _pass
    await trio.sleep(10)
    assert len(starts(control)) == 1


async def test_stopped_by_hand_it_is_not_restarted(control, autojump_clock):
    control.runtime.answer = fail
    await run(control, on_unhealthy="restart", interval_s=1.0, retries=1, start_interval_s=1.0)
    await trio.sleep(1.05)  # the restart is due in 50 ms, the stop takes longer
    await control.lifecycle.stop(ID, timeout_s=5, signal="USR1")
    await trio.sleep(30)
    assert control.phase() == "exited"
    assert len(starts(control)) == 1
