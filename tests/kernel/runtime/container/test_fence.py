"""The watchdog acts on real cgroups in time, by itself, and ends with nothing to watch.

Covers runtime/container/fencing.py
"""

import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from runtime.container.cgroups import Cgroup, parse_mountinfo
from runtime.container.fence import Watchdog, boot_s
from runtime.container.fencing import WatchdogFence
from runtime.contract.fence import Ward

ID = "a" * 64
IGNORE = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
POLITE = "import time; print(flush=True); time.sleep(60)"


@pytest.fixture
def parent():
    return f"fence-{secrets.token_hex(4)}"


@pytest.fixture
def writer(parent):
    """A function that starts a program in a container's cgroup."""
    layout = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    cgroup = Cgroup(layout=layout, path=f"/{parent}/{ID}")
    wanted = [f"{root}/{parent}/{ID}" for name, root in layout.v1.items() if name == "freezer"]
    started = []

    def start(code):
        for place in wanted or [f"{layout.unified}/{parent}/{ID}"]:
            Path(place).mkdir(parents=True, exist_ok=True)
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        started.append(child)
        child.stdout.readline()
        for place in cgroup.directories():
            (place / "cgroup.procs").write_text(str(child.pid))
        return child

    yield start
    for child in started:
        if cgroup.is_frozen():
            cgroup.set_frozen(frozen=False)
        child.kill()
        child.wait()
        child.stdout.close()
    for top in (cgroup, Cgroup(layout=layout, path=f"/{parent}")):
        top.remove()


@pytest.fixture
async def fence(tmp_path, parent):
    made = WatchdogFence(tmp_path, cgroup_parent=parent)
    yield made
    with trio.CancelScope(shield=True):
        await made.write(0, "", ())


def ward(policy, in_s, grace_s=60.0, **fields):
    return Ward(
        container=ID, volume="db", policy=policy, until_s=boot_s() + in_s, grace_s=grace_s,
        epoch=1, **fields,
    )  # fmt: skip


async def wait_for(condition, within_s=10.0):
    began_s = trio.current_time()
    with trio.fail_after(within_s):
        while True:
            if condition():
                break
            await trio.sleep(0.01)
    return trio.current_time() - began_s


def watchdogs(tmp_path):
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                entry.name.isdecimal()
                and str(tmp_path).encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
    return found


async def test_it_acts_when_the_time_is_over_and_not_before(fence, writer):
    child = writer(IGNORE)
    await fence.write(7, "n", [ward("kill", 1.5)])
    took_s = await wait_for(lambda: child.poll() is not None)
    assert 1.3 < took_s < 2.5
    assert child.returncode == -signal.SIGKILL
    assert (await fence.read()).session == 7


async def test_who_is_told_to_stop_and_does_not_is_killed(fence, writer):
    child = writer(POLITE)
    await fence.write(1, "n", [ward("stop", 0)])
    await wait_for(lambda: child.poll() is not None)
    assert child.returncode == -signal.SIGTERM
    stubborn = writer(IGNORE)
    await fence.write(1, "n", [ward("stop", 0, grace_s=1.0)])
    assert await wait_for(lambda: stubborn.poll() is not None) > 0.8
    assert stubborn.returncode == -signal.SIGKILL


async def test_a_renewal_in_time_keeps_it_running(fence, writer):
    child = writer(POLITE)
    for _ in range(6):
        await fence.write(1, "n", [ward("kill", 1.0)])
        await trio.sleep(0.4)
    assert child.poll() is None


async def test_a_frozen_one_can_be_killed(fence, writer):
    child = writer(POLITE)
    await fence.write(1, "n", [ward("pause", 0)])
    await wait_for(lambda: fence.is_frozen(ID))
    assert child.poll() is None
    await fence.write(1, "n", [ward("pause", 0, is_lost=True)])
    await wait_for(lambda: child.poll() is not None)


async def test_it_is_found_again_started_again_and_ended(fence, writer, tmp_path, parent):
    await fence.write(1, "n", [ward("kill", 60)])
    (first,) = await _seen(tmp_path)
    later = WatchdogFence(tmp_path, cgroup_parent=parent)
    await later.write(1, "n", [ward("kill", 60)])
    assert watchdogs(tmp_path) == [first]
    os.kill(first, signal.SIGKILL)
    await wait_for(lambda: first not in watchdogs(tmp_path))
    await fence.write(1, "n", [ward("kill", 60)])
    (second,) = await _seen(tmp_path)
    assert second != first
    os.kill(second, signal.SIGSTOP)
    await wait_for(lambda: " T " in Path(f"/proc/{second}/stat").read_text(encoding="utf-8"))
    await fence.write(1, "n", [ward("kill", 60)])
    await wait_for(lambda: second not in watchdogs(tmp_path))
    assert await _seen(tmp_path)
    await fence.write(1, "n", ())
    assert watchdogs(tmp_path) == []


async def _seen(tmp_path):
    await wait_for(lambda: watchdogs(tmp_path))
    return watchdogs(tmp_path)


def test_a_file_that_is_torn_changes_nothing(tmp_path, parent, writer):
    child = writer(POLITE)
    path = tmp_path / "x"
    watchdog = Watchdog(path, parent)
    assert not watchdog.look(boot_s())
    path.write_bytes(b"{")
    assert watchdog.look(boot_s())
    assert child.poll() is None
