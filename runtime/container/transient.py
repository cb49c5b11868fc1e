"""Short processes in a running container, which end with the call that runs them.

The runtime's exec is our child, without a conmon: that is a third cheaper, and nobody attaches.
What such a process began is found as descendant of the runtime's process, and in the container as
member of its session, which both runtimes begin. What left that session too is not found.
"""

import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from runtime.container import bundle, oci, supervisor
from runtime.container.cgroups import Cgroup
from runtime.container.execs import PROCESS
from runtime.container.oci import Oci

END_S: Final = 5.0  # guess: a SIGKILLed process ends far sooner, but for one that is frozen
PID_FILE: Final = "pid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kin:
    """Where one process comes from."""

    parent: int
    session: int


def parse_kin(text: str) -> Kin:
    """Parent and session of /proc/PID/stat; the name may hold anything."""
    fields = text.rpartition(")")[2].split()
    return Kin(parent=int(fields[1]), session=int(fields[3]))


def family(
    everybody: Mapping[int, Kin], roots: Iterable[int], leader: int, inside: Collection[int]
) -> set[int]:
    """The roots, all that descend from them, and whoever ``inside`` is in the leader's session.

    The leader's number is from a file and may be another's by now. One that is not inside counts
    for nothing, nor does one in a session that a process of the container began.
    """
    found = {pid for pid in roots if pid in everybody}
    session = everybody[leader].session if leader in everybody and leader in inside else 0
    if session and (session == leader or session not in inside):
        found |= {pid for pid in inside if pid in everybody and everybody[pid].session == session}
    children: dict[int, list[int]] = {}
    for pid, kin in everybody.items():
        children.setdefault(kin.parent, []).append(pid)
    new = list(found)
    while new:
        new = [child for pid in new for child in children.get(pid, ()) if child not in found]
        found |= set(new)
    return found


def read_everybody() -> dict[int, Kin]:
    """One pass over /proc; processes that are over, or end meanwhile, are not there."""
    found = {}
    for entry in os.scandir(supervisor.PROC):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if supervisor.parse_stat(text)[0] not in {"Z", "X"}:
                found[int(entry.name)] = parse_kin(text)
    return found


async def run(runtime: Oci, directory: Path, cgroup: Cgroup, sink: Callable[[bytes], None]) -> int:
    """Run the process described in ``directory`` to its end, in the container of ``cgroup``.

    Cancel: it and all it began are killed.
    """
    container_id = cgroup.path.rpartition("/")[2]
    argv = (
        *runtime.argv, "exec", f"--process={directory / PROCESS}",
        f"--pid-file={directory / PID_FILE}", container_id,
    )  # fmt: skip

    async def stop(pid: int) -> None:
        with trio.move_on_after(END_S):
            await end(directory, cgroup, [pid])

    try:
        return await oci.stream(argv, sink, stop)
    finally:
        bundle.remove_tree(directory)


async def end(directory: Path, cgroup: Cgroup, roots: Collection[int]) -> None:
    """Kill a process, found by its files and by ``roots``, and return when it has ended."""

    def look() -> set[int]:
        leader = supervisor.read_pid(directory / PID_FILE)
        return family(read_everybody(), roots, leader, cgroup.read_pids())

    while True:
        found = look()
        stopped: set[int] = set()
        while new := found - stopped:  # stopped first: who is killed first can begin no further one
            for pid in new:
                supervisor.send_signal(pid, supervisor.read_ticks(pid), signal.SIGSTOP)
            stopped |= new
            found = look()
        if not found:
            return
        await supervisor.kill_and_wait(sorted(found))


async def end_strays(places: bundle.Places, container_id: str, cgroup: Cgroup) -> None:
    """End those of one container that nobody waits for any more."""
    for directory in places.probes(container_id):
        with trio.move_on_after(END_S):
            await end(directory, cgroup, find_runtimes(directory))
        bundle.remove_tree(directory)


def find_runtimes(directory: Path) -> list[int]:
    """The runtime's processes that were begun for a directory."""
    needle = os.fsencode(f"--process={directory / PROCESS}")
    found = []
    for entry in os.scandir(supervisor.PROC):
        if entry.name.isdigit():
            try:
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if needle in words:
                found.append(int(entry.name))
    return found
