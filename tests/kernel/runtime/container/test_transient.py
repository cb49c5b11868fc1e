"""Short processes: their end is the end of all they began. Covers runtime/container/transient.py"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from runtime.container import supervisor
from runtime.container.transient import Kin, family, parse_kin, read_everybody
from runtime.contract.container import ProcessSpec
from runtime.errors import Conflict, Missing

TOO_LONG_S = 20


@pytest.fixture
async def running(box):
    return await box.run("sleep", "1000")


async def probe(box, container_id, *args, sink=None, **fields):
    said = bytearray()
    process = ProcessSpec(args=args, **fields)
    with trio.fail_after(TOO_LONG_S):
        code = await box.rt.probe(container_id, process, sink or said.extend)
    return code, bytes(said)


async def inside(box, container_id) -> set[int]:
    pids = await box.rt.top(container_id)
    return {pid for pid in pids if supervisor.read_ticks(pid)}


async def wait_inside(box, container_id, count: int) -> set[int]:
    with trio.fail_after(TOO_LONG_S):
        while len(pids := await inside(box, container_id)) != count:  # noqa: ASYNC110  a fork has no event
            await trio.sleep(0.01)
    return pids


@pytest.mark.parametrize("code", [0, 3, 200])
async def test_code_and_output_of_both_streams(box, running, code):
    got = await probe(box, running, "sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert (got[0], sorted(got[1].splitlines())) == (code, [b"err", b"out"])  # runc mixes them
    assert box.rt._places.probes(running) == []


async def test_a_signal_is_128_and_more(box, running):
    assert (await probe(box, running, "sh", "-c", "kill -9 $$"))[0] == 137


async def test_what_cannot_be_run_says_so(box, running):
    code, said = await probe(box, running, "no-such-program")
    assert code != 0
    assert b"no-such-program" in said


async def test_it_runs_as_the_container_does(box, running):
    process = {"user": "bob", "cwd": "/etc", "env": ("A=b",)}
    _, said = await probe(box, running, "sh", "-c", "id -u; pwd; echo $A", **process)
    assert said == b"1000\n/etc\nb\n"


async def test_a_flood_of_output_costs_the_agent_no_memory(box, running):
    got = 0

    def count(data: bytes) -> None:
        nonlocal got
        got += len(data)

    code, _ = await probe(box, running, "sh", "-c", "dd if=/dev/zero bs=65536 count=64", sink=count)
    assert code == 0
    assert got >= 64 * 65536


async def test_what_it_leaves_behind_does_not_hold_it_up(box, running):
    if box.runtime == "runc":
        pytest.skip("runc copies output itself, until nobody holds the pipe: the deadline ends it")
    code, said = await probe(box, running, "sh", "-c", "sleep 900 & echo done")
    assert (code, said) == (0, b"done\n")


@pytest.mark.parametrize(
    "line",
    ["sleep 900", "sleep 900 & sleep 901 & wait", "(sleep 900 &) ; (sleep 901 &) ; sleep 902"],
)
async def test_cancelled_it_and_all_it_began_are_gone(box, running, line):
    before = await inside(box, running)
    said = bytearray()
    process = ProcessSpec(args=("sh", "-c", f"echo begun; {line}"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.rt.probe, running, process, said.extend)
        await wait_inside(box, running, len(before) + (1 if line == "sleep 900" else 3))
        with trio.fail_after(TOO_LONG_S):
            while said != b"begun\n":  # noqa: ASYNC110  nor has a buffer
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert await inside(box, running) == before
    assert box.rt._places.probes(running) == []


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05])
async def test_cancelled_at_any_moment_it_leaves_nothing(box, running, after_s):
    before = await inside(box, running)
    with trio.move_on_after(after_s) as scope:
        await box.rt.probe(running, ProcessSpec(args=("sleep", "900")), lambda _: None)
    assert scope.cancelled_caught
    assert await inside(box, running) == before
    left = [line for line in map(command, read_everybody()) if str(box.base) in line]
    assert [line for line in left if "--process=" in line] == []


def command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


async def test_the_containers_end_ends_it(box, running):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe, box, running, "sleep", "900")
        await wait_inside(box, running, 2)
        await box.rt.kill(running, signal.SIGKILL)
        await box.finish(running)  # and the probe, or the nursery would not


async def test_ended_or_paused_it_takes_none(box, running):
    await box.rt.pause(running)
    with pytest.raises(Conflict):
        await probe(box, running, "true")
    await box.rt.unpause(running)
    await box.rt.kill(running, signal.SIGKILL)
    await box.finish(running)
    with pytest.raises(Missing):
        await probe(box, running, "true")


ONE_PROBE = """
import sys, trio
from pathlib import Path
from runtime.container.lifecycle import ContainerRuntime
from runtime.contract.container import ProcessSpec

async def main(root, run, parent, kind, container_id):
    runtime = ContainerRuntime(Path(root), Path(run), cgroup_parent=parent, runtime=kind)
    await runtime.open()
    process = ProcessSpec(args=("sh", "-c", "sleep 900 & sleep 901 & wait"))
    await runtime.probe(container_id, process, lambda _: None)

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("orphaned", [False, True], ids=["runtime lives", "runtime killed too"])
async def test_what_a_killed_agent_left_the_next_scan_ends(box, running, orphaned):
    before = await inside(box, running)
    words = [str(box.base / "root"), str(box.base / "run"), box.parent, box.runtime, running]
    async with trio.open_nursery() as nursery:
        agent = await nursery.start(trio.run_process, [sys.executable, "-c", ONE_PROBE, *words])
        await wait_inside(box, running, len(before) + 3)
        began = family(read_everybody(), {agent.pid}, 0, ()) - {agent.pid}
        nursery.cancel_scope.cancel()  # SIGKILL comes first: see below
        os.kill(agent.pid, signal.SIGKILL)
    if orphaned:
        await supervisor.kill_and_wait(sorted(began - await inside(box, running)))
    assert await inside(box, running) > before
    rt = box.another()
    await rt.open()
    with trio.fail_after(TOO_LONG_S):
        found = await rt.scan()
    assert [each.state for each in found] == ["running"]
    assert await inside(box, running) == before
    assert rt._places.probes(running) == []
    left = {pid for pid in began if supervisor.read_ticks(pid)}
    assert left == set()


def test_kin_of_a_process_with_an_odd_name():
    assert parse_kin("7 (a) b (c)) S 3 7 5 0 -1") == Kin(parent=3, session=5)


def test_a_family_is_descendants_and_the_session_inside():
    kin = {
        1: Kin(parent=0, session=1),
        10: Kin(parent=1, session=1),  # the root
        11: Kin(parent=10, session=11),
        12: Kin(parent=11, session=11),
        13: Kin(parent=1, session=11),  # orphaned, in the session
        14: Kin(parent=1, session=11),  # as 13, but elsewhere
        20: Kin(parent=1, session=20),
    }
    assert family(kin, [10], 11, [11, 12, 13, 20]) == {10, 11, 12, 13}
    assert family(kin, [], 13, [1, 12, 13]) == {12, 13}  # crun: who began the session is gone
    assert family(kin, [], 13, [12]) == set()  # the number is not the container's (any more)
    assert family(kin, [], 10, [1, 10, 11]) == set()  # in the session of the container's program
    assert family(kin, [10], 0, [11, 12, 13]) == {10, 11, 12}
    assert family(kin, [99], 0, ()) == set()
