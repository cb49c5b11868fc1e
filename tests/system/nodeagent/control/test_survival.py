"""A hundred containers over ends of the agent: no line of a log lost or doubled, no exit forgotten.

Covers nodeagent/control/startup.py
"""

import os
import signal
import time
from collections.abc import Callable

import pytest

from nodeagent.rpc.sync_client import open_sync_client
from runtime.container.supervisor import read_ticks
from tests.system.harness.agent import Agent
from tests.system.nodeagent.control.test_hundred import pipelined

COUNT = 100
SCRIPT = """
trap 'exit 3' TERM; trap 'exit 0' USR1
pad=$(printf %0300d 0); n=0; while :; do echo $n $pad; n=$((n+1)); sleep 0.3; done
"""
ENDS_S = 10.0
# policy, signal that ends it while no agent looks, then: status, exit code or number of restarts
FATES: dict[str, tuple[dict[str, object], int, str, int]] = {
    "no": ({"name": "no"}, signal.SIGTERM, "exited", 3),
    "no-killed": ({"name": "no"}, signal.SIGKILL, "exited", 137),
    "failed": ({"name": "on-failure", "max_retries": 5}, signal.SIGTERM, "running", 1),
    "succeeded": ({"name": "on-failure"}, signal.SIGUSR1, "exited", 0),
    "always": ({"name": "always"}, signal.SIGUSR1, "running", 1),
    "unless": ({"name": "unless-stopped"}, signal.SIGKILL, "running", 1),
}


def stop(agent: Agent, meanwhile: Callable[[], None]) -> None:
    agent.stop()
    meanwhile()
    agent.start()


def crash(agent: Agent, meanwhile: Callable[[], None]) -> None:
    agent.kill()
    meanwhile()
    agent.start()


def replace(agent: Agent, meanwhile: Callable[[], None]) -> None:
    meanwhile()
    agent.replace()


def is_there(pid: int) -> bool:
    """A zombie is not: PID 1 may take its time."""
    return bool(read_ticks(pid))


def end_some(pids: dict[str, int]) -> None:
    """End those whose fate is asked for, and return when their conmons have written it down."""
    for name, (_, number, _, _) in FATES.items():
        os.kill(pids[name], number)
    deadline = time.monotonic() + ENDS_S
    while any(is_there(pids[name]) for name in FATES):
        assert time.monotonic() < deadline, "they do not end"
        time.sleep(0.05)
    time.sleep(0.5)


def runs_of(text: str) -> list[int]:
    """Lines of each run, which count from 0 on; a lost or doubled one fails."""
    lengths: list[int] = []
    for line in text.splitlines():
        number, pad = line.split()
        assert len(pad) == 300
        if number == "0":
            lengths.append(0)
        assert number == str(lengths[-1]), f"line {number} where {lengths[-1]} comes"
        lengths[-1] += 1
    return lengths


def all_runs(agent: Agent, names: list[str]) -> dict[str, list[int]]:
    found = {}
    with open_sync_client(agent.host) as client:
        for name in names:
            with client.stream("container.logs", {"name": name}) as stream:
                found[name] = runs_of(b"".join(item["data"] for item in stream).decode("ascii"))
                stream.result()
    return found


def all_pids(agent: Agent, names: list[str]) -> dict[str, int]:
    with open_sync_client(agent.host) as client:
        views = client.call("container.inspect", {"names": names})
    return {name: view["State"]["Pid"] for name, view in zip(names, views, strict=True)}


def create_all(agent: Agent) -> list[str]:
    log = {"log_driver": "local", "log_options": {"max-size": "4k", "max-file": "1000"}}
    request = {"image": "busybox", "cmd": ["sh", "-c", SCRIPT], **log}
    wanted = {name: policy for name, (policy, *_) in FATES.items()}
    wanted |= {f"c{n}": {"name": "no"} for n in range(COUNT - len(FATES))}
    made = [request | {"name": name, "restart_policy": each} for name, each in wanted.items()]
    pipelined(agent, "container.create", made)
    pipelined(agent, "container.start", [{"name": name} for name in wanted])
    return list(wanted)


@pytest.mark.parametrize("leave", [stop, crash, replace])
def test_nothing_is_lost(agent: Agent, leave: Callable[[Agent, Callable[[], None]], None]) -> None:
    before = agent.snapshot()
    names = create_all(agent)
    pids = all_pids(agent, names)
    leave(agent, lambda: end_some(pids))

    for name, (_, _, state, number) in FATES.items():
        view = agent.inspect("container", name)
        found = view["RestartCount"] if state == "running" else view["State"]["ExitCode"]
        assert (view["State"]["Status"], found) == (state, number), name
    kept = [name for name in names if name not in FATES]
    assert all_pids(agent, kept) == {name: pids[name] for name in kept}

    runs = all_runs(agent, names)
    again = {name for name, (_, _, state, _) in FATES.items() if state == "running"}
    assert {name for name, found in runs.items() if len(found) == 2} == again
    assert {len(found) for found in runs.values()} == {1, 2}
    assert min(found[0] for found in runs.values()) > 3
    later = all_runs(agent, kept)
    assert [name for name in kept if later[name][0] < runs[name][0]] == []

    pipelined(agent, "container.rm", [{"name": name, "force": True} for name in names])
    agent.expect(before)
