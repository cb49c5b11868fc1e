"""Freezing, emptying and removing a container's cgroup, whatever state it is in."""

import os
from typing import Final

import trio

from runtime.container import supervisor
from runtime.container.cgroups import Cgroup
from runtime.errors import Busy, Unavailable

REMOVE_S: Final = 5.0  # guess: the kernel needs well below a millisecond
REMOVE_STEP_S: Final = 0.0005
FREEZE_S: Final = 5.0
FREEZE_STEPS: Final = 10
FREEZE_STEP_S: Final = 0.001  # v1 has no notification of "frozen"


async def freeze(cgroup: Cgroup, *, frozen: bool) -> None:
    """Freeze or thaw a cgroup and return when that is done; Unavailable if it takes too long.

    Cancel: it is as it was, or frozen.
    """
    with trio.move_on_after(FREEZE_S):
        while True:
            cgroup.set_frozen(frozen=frozen)
            for _ in range(FREEZE_STEPS):
                if cgroup.is_frozen() is frozen:
                    return
                await trio.sleep(FREEZE_STEP_S)
            # v1 sticks in FREEZING when a process forked meanwhile: thawed, it gets on
            cgroup.set_frozen(frozen=False)
    cgroup.set_frozen(frozen=not frozen)
    raise Unavailable("freeze cgroup", path=cgroup.path, frozen=frozen)


async def kill_all(cgroup: Cgroup) -> None:
    """Kill what is in a cgroup, frozen or not, and return when it has ended."""
    while pids := [pid for pid in cgroup.read_pids() if supervisor.read_ticks(pid)]:
        if cgroup.is_frozen():
            cgroup.set_frozen(frozen=False)
        await supervisor.kill_and_wait([pid for pid in pids if pid != os.getpid()])


async def clear(cgroup: Cgroup) -> None:
    """Kill what is in a cgroup and remove it; Busy if that does not work out. Idempotent."""
    with trio.move_on_after(REMOVE_S):
        while True:
            await kill_all(cgroup)
            try:
                cgroup.remove()
            except Busy:
                # the kernel takes a task off its cgroup just after its pidfd says it has ended,
                # and v1 has no notification of that
                await trio.sleep(REMOVE_STEP_S)
            else:
                return
    cgroup.remove()
