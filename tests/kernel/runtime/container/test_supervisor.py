"""kill -9 of the agent, of conmon, and what a new agent makes of it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from runtime.container import supervisor


async def test_conmon_killed_ends_the_container_with_an_unknown_code(box):
    spec = box.spec("sleep", "60")
    process = await box.rt.create(spec)
    await box.rt.start(spec.id)
    os.kill(process.conmon_pid, signal.SIGKILL)
    end = await box.finish(spec.id)
    assert end.code == 255
    assert not supervisor.is_alive(process.pid, process.started_ticks)
    assert [found.state for found in await box.rt.scan()] == ["exited"]


async def test_conmon_killed_while_the_agent_was_down(box):
    spec = box.spec("sleep", "60")
    process = await box.rt.create(spec)
    await box.rt.start(spec.id)
    os.kill(process.conmon_pid, signal.SIGKILL)
    again = box.another()
    await again.open()
    assert [(each.state, each.exit.code) for each in await again.scan()] == [("exited", 255)]


AGENT = """
import sys, trio
from pathlib import Path
from runtime.container.lifecycle import ContainerRuntime
from runtime.contract.container import ContainerSpec, ProcessSpec

async def main(root, run, rootfs, parent, runtime, cid, start):
    rt = ContainerRuntime(Path(root), Path(run), cgroup_parent=parent, runtime=runtime)
    await rt.open()
    print("open", flush=True)
    spec = ContainerSpec(id=cid, name="x", rootfs=Path(rootfs), hostname="h", netns="",
        process=ProcessSpec(args=("sh", "-c", "sleep 0.5; exit 5")))
    await rt.create(spec)
    if start == "start":
        await rt.start(cid)
    print("ready", flush=True)
    await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


def start_python(text, *args):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, args)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


def start_agent(box, container_id, start):
    args = [box.base / "root", box.base / "run", box.rootfs, box.parent, box.runtime]
    return start_python(AGENT, *args, container_id, start)


@pytest.mark.parametrize("start", ["create", "start"])
async def test_agent_killed_and_started_again(box, start):
    container_id = box.spec("true").id
    with start_agent(box, container_id, start) as agent:
        assert agent.stdout.readline() == b"open\n"
        assert agent.stdout.readline() == b"ready\n"
        agent.kill()
    again = box.another()
    await again.open()
    (found,) = await again.scan()
    assert found.state == {"create": "created", "start": "running"}[start]
    if start == "create":
        await again.start(container_id)
    with trio.fail_after(10):
        assert (await again.wait_exit(container_id)).code == 5


@pytest.mark.parametrize("after_ms", [0, 2, 5, 8, 12, 16, 20, 25, 30])
async def test_agent_killed_in_the_middle_of_create(box, after_ms):
    container_id = box.spec("true").id
    with start_agent(box, container_id, "create") as agent:
        assert agent.stdout.readline() == b"open\n"
        await trio.sleep(after_ms / 1000)
        agent.kill()
    again = box.another()
    await again.open()
    for found in await again.scan():
        assert found.id == container_id
        assert found.state in {"leftover", "created"}
    await again.delete(container_id)
    assert box.leaks() == []


LOOP = """
import sys, trio
from pathlib import Path
from runtime.container.lifecycle import ContainerRuntime
from runtime.contract.container import ContainerSpec, ProcessSpec

async def one(rt, rootfs, number):
    cid = f"{number:064x}"
    spec = ContainerSpec(id=cid, name="x", rootfs=Path(rootfs), hostname="h", netns="",
        process=ProcessSpec(args=("sleep", "600")))
    await rt.create(spec)
    await rt.start(cid)
    async with rt.exec(cid, ProcessSpec(args=("true",)), privileged=False) as session:
        await session.wait()
    await rt.pause(cid)
    await rt.unpause(cid)
    await rt.kill(cid, 9)
    await rt.wait_exit(cid)
    await rt.delete(cid)

async def main(root, run, rootfs, parent, runtime):
    rt = ContainerRuntime(Path(root), Path(run), cgroup_parent=parent, runtime=runtime)
    await rt.open()
    print("open", flush=True)
    for number in range(1000):
        await one(rt, rootfs, number)

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("after_ms", [3, 11, 23, 31, 43, 47, 59, 67, 79, 97])
async def test_agent_killed_at_any_moment(box, after_ms):
    box.rt.close()
    args = [box.base / "root", box.base / "run", box.rootfs, box.parent, box.runtime]
    with start_python(LOOP, *args) as agent:
        assert agent.stdout.readline() == b"open\n"
        await trio.sleep(after_ms / 1000)
        agent.kill()
    again = box.another()
    await again.open()
    for found in await again.scan():
        await again.delete(found.id)
    assert await again.scan() == []
    assert box.leaks() == []
