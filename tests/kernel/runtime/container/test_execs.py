import os
import signal
from pathlib import Path

import pytest
import trio

from runtime.contract.container import ProcessSpec
from runtime.errors import Missing, Refused


async def collect(session):
    found = {"stdout": b"", "stderr": b""}
    while (piece := await session.receive()) is not None:
        found[piece[0]] += piece[1]
    return found


def own_bounding_set() -> bytes:
    lines = Path("/proc/self/status").read_bytes().splitlines()
    return next(line for line in lines if line.startswith(b"CapBnd"))


@pytest.fixture
async def running(box):
    return await box.run("sleep", "100")


async def execute(box, container_id, *args, privileged=False, **fields):
    process = ProcessSpec(args=args, **fields)
    with trio.fail_after(20):
        async with box.rt.exec(container_id, process, privileged=privileged) as session:
            output = await collect(session)
            return await session.wait(), output


@pytest.mark.parametrize("code", [0, 3, 200])
async def test_code_and_output(box, running, code):
    got = await execute(box, running, "sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert got == (code, {"stdout": b"out\n", "stderr": b"err\n"})


async def test_missing_command_is_127(box, running):
    with pytest.raises(Missing) as caught:
        await execute(box, running, "no-such-program")
    assert caught.value.fields["exit_code"] == 127


async def test_not_executable_is_126(box, running):
    with pytest.raises(Refused) as caught:
        await execute(box, running, "/etc/passwd")
    assert caught.value.fields["exit_code"] == 126


async def test_ended_container_takes_no_exec(box):
    container_id = await box.run("true")
    await box.finish(container_id)
    with pytest.raises(Missing):
        await execute(box, container_id, "true")


async def test_stdin_user_directory_and_environment(box, running):
    process = ProcessSpec(
        args=("sh", "-c", "id -u; pwd; echo $A; cat"),
        user="bob",
        cwd="/etc",
        env=("A=b",),
        stdin=True,
    )
    with trio.fail_after(10):
        async with box.rt.exec(running, process, privileged=False) as session:
            await session.send(b"typed\0\xff")
            await session.send_eof()
            assert (await collect(session))["stdout"] == b"1000\n/etc\nb\ntyped\0\xff"
            assert await session.wait() == 0


async def test_rights_are_the_containers(box, running):
    _, said = await execute(box, running, "cat", "/proc/self/status")
    assert b"CapEff:\t00000000a80425fb" in said["stdout"]
    assert b"Seccomp:\t2" in said["stdout"]


async def test_privileged_has_what_the_agent_has(box, running):
    _, said = await execute(box, running, "cat", "/proc/self/status", privileged=True)
    assert own_bounding_set() in said["stdout"]


async def test_terminal(box, running):
    # the size comes to conmon by another way than the input, so it may come after it
    wait = 'until [ "$(stty size 2>/dev/null)" = "21 77" ]; do sleep 0.02; done'
    script = f"read x; {wait}; stty size; echo got $x"
    process = ProcessSpec(args=("sh", "-c", script), tty=True, stdin=True)
    with trio.fail_after(10):
        async with box.rt.exec(running, process, privileged=False) as session:
            await session.resize(21, 77)
            await session.send(b"word\n")
            said = (await collect(session))["stdout"]
            assert b"21 77" in said
            assert b"got word" in said
            assert await session.wait() == 0


async def test_it_is_in_the_container_and_outlives_its_client(box, running):
    process = ProcessSpec(args=("sleep", "77"))
    async with box.rt.exec(running, process, privileged=False) as session:
        pid = session.pid
        assert pid in await box.rt.top(running)
    assert pid in await box.rt.top(running)
    await box.rt.delete(running)
    assert box.leaks() == []


async def test_ended_execs_leave_no_files(box, running):
    for _ in range(3):
        await execute(box, running, "true")
    await box.rt.scan()
    assert list((box.base / "run/exec").iterdir()) == []


async def test_killed_exec_has_a_signals_code(box, running):
    process = ProcessSpec(args=("sleep", "50"))
    with trio.fail_after(10):
        async with box.rt.exec(running, process, privileged=False) as session:
            os.kill(session.pid, signal.SIGKILL)
            assert await session.wait() == 137


async def test_many_at_once(box, running):
    codes = {}

    async def one(number):
        codes[number] = (await execute(box, running, "sh", "-c", f"exit {number}"))[0]

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(one, number)
    assert codes == {number: number for number in range(8)}
