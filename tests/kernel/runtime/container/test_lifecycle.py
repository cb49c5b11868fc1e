import contextlib
import signal

import pytest
import trio

from runtime.container.lifecycle import ContainerRuntime
from runtime.contract.container import Limits, ProcessSpec
from runtime.contract.logs import Query
from runtime.errors import Conflict, Invalid, Missing, Refused


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", None)])
async def test_exit_code_is_the_programs_own(box, command, code):
    end = await box.finish(await box.run("sh", "-c", command))
    # PID 1 of a namespace cannot kill itself: the shell goes on and ends with 0
    assert end.code == (0 if code is None else code)
    assert not end.oom_killed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
async def test_signals_end_it(box, number, code):
    handler = "trap 'exit 143' TERM; echo up; while :; do sleep 0.05; done"
    container_id = await box.run("sh", "-c", handler)
    with trio.fail_after(10):
        lines = box.rt.logbook.read(container_id, Query(follow=True))
        async with contextlib.aclosing(lines):
            await anext(lines)
        await box.rt.kill(container_id, number)
    assert (await box.finish(container_id)).code == code
    with pytest.raises(Missing):
        await box.rt.kill(container_id, number)


async def test_many_waiters_hear_the_same_end(box):
    container_id = await box.run("sh", "-c", "sleep 0.1; exit 7")
    ends = []

    async def wait():
        ends.append(await box.finish(container_id))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
    assert [end.code for end in ends] == [7] * 5
    assert len({end.finished_at for end in ends}) == 1


async def test_missing_command_is_127_and_leaves_nothing(box):
    with pytest.raises(Missing) as caught:
        await box.run("no-such-program")
    assert caught.value.fields["exit_code"] == 127
    assert box.leaks() == []


async def test_not_executable_is_126_and_leaves_nothing(box):
    with pytest.raises(Refused) as caught:
        await box.run("/etc/passwd")
    assert caught.value.fields["exit_code"] == 126
    assert box.leaks() == []


async def test_memory_limit_kills_and_says_so(box):
    eat = "a=$(yes | head -c 200000000 | tr -d '\\n'); echo done"
    end = await box.finish(await box.run("sh", "-c", eat, limits=Limits(memory_bytes=16 << 20)))
    assert end.oom_killed
    assert end.code != 0


async def test_pause_stops_it_and_unpause_goes_on(box):
    container_id = await box.run("sh", "-c", "while :; do sleep 0.01; echo x; done")
    await box.rt.pause(container_id)
    assert [found.state for found in await box.rt.scan()] == ["paused"]
    size = box.rt.logbook.path(container_id).stat().st_size
    await trio.sleep(0.1)
    assert box.rt.logbook.path(container_id).stat().st_size - size < 100
    await box.rt.unpause(container_id)
    assert [found.state for found in await box.rt.scan()] == ["running"]


async def test_paused_container_takes_no_exec_but_dies_of_sigkill(box):
    container_id = await box.run("sleep", "60")
    await box.rt.pause(container_id)
    with pytest.raises(Conflict):
        async with box.rt.exec(container_id, ProcessSpec(args=("true",)), privileged=False):
            pass
    await box.rt.kill(container_id, signal.SIGKILL)
    assert (await box.finish(container_id)).code == 137


def test_root_with_a_colon_is_refused(tmp_path):
    with pytest.raises(Invalid):
        ContainerRuntime(tmp_path / "a:b", tmp_path, cgroup_parent="x")


async def test_paused_container_can_be_deleted(box):
    container_id = await box.run("sleep", "60")
    await box.rt.pause(container_id)
    await box.rt.delete(container_id)
    assert box.leaks() == []


async def test_scan_tells_states_apart_and_a_new_agent_waits(box):
    created = box.spec("sleep", "60")
    process = await box.rt.create(created)
    running = await box.run("sh", "-c", "sleep 0.4; exit 9")
    exited = await box.run("sh", "-c", "exit 4")
    await box.finish(exited)
    again = box.another()
    await again.open()
    found = {each.id: each for each in await again.scan()}
    assert found[created.id].state == "created"
    assert found[created.id].process == process
    assert found[running].state == "running"
    assert found[exited].exit.code == 4
    with trio.fail_after(10):
        assert (await again.wait_exit(running)).code == 9
    await again.start(created.id)
    await again.delete(created.id)


async def test_half_made_bundle_is_a_leftover(box):
    spec = box.spec("true")
    (box.base / "root/containers" / spec.id / "bundle").mkdir(parents=True)
    assert [found.state for found in await box.rt.scan()] == ["leftover"]
    with pytest.raises(Conflict):
        await box.rt.create(spec)


async def test_delete_is_idempotent_and_ends_what_runs(box):
    container_id = await box.run("sh", "-c", "sleep 60 & sleep 60 & wait")
    await box.rt.delete(container_id)
    await box.rt.delete(container_id)
    assert box.leaks() == []
    assert box.rt.logbook.path(container_id).exists()
    await box.rt.logbook.remove(container_id)
    assert not box.rt.logbook.path(container_id).exists()


async def test_twenty_at_once(box):
    ends = {}

    async def one(number):
        container_id = await box.run("sh", "-c", f"exit {number}")
        ends[number] = (await box.finish(container_id)).code
        await box.rt.delete(container_id)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
    assert ends == {number: number for number in range(20)}
    assert box.leaks() == []


@pytest.mark.parametrize("after_ms", [1, 4, 8, 12, 16, 20, 25, 30, 40, 60])
async def test_cancelled_create_leaves_nothing(box, after_ms):
    spec = box.spec("sleep", "60")
    with trio.move_on_after(after_ms / 1000):
        await box.rt.create(spec)
    await box.rt.delete(spec.id)
    assert box.leaks() == []
