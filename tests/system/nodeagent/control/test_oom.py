"""What the kernel kills for memory is told as such: in the state, as an event, as a figure.

Covers nodeagent/control/lifecycle.py, runtime/container/cgroups.py
"""

import json
import time
from pathlib import Path

from tests.system.harness.agent import ANSWER_S, Agent
from tests.system.harness.images import build_tar

LIMIT = ("-m", "16m", "--memory-swap", "16m")
GREEDY = "tail /dev/zero"  # keeps what may be the last line: all of it


def events(agent: Agent, name: str) -> list[str]:
    lines = agent.say(
        "events", "--until", "0s", "--format", "json", "--filter", f"container={name}"
    )
    return [json.loads(line)["action"] for line in lines.splitlines()]


def figure(agent: Agent, series: str) -> float:
    for line in agent.space.fetch("http://127.0.0.1:9323/metrics").splitlines():
        if line.startswith(series):
            return float(line.rsplit(" ", 1)[1])
    return -1


def state(agent: Agent, name: str) -> tuple[str, int, bool]:
    found = agent.inspect("container", name)["State"]
    return found["Status"], found["ExitCode"], found["OOMKilled"]


def test_the_first_process(agent: Agent) -> None:
    greedy = ("busybox", "sh", "-c", f"exec {GREEDY}")
    assert agent.cli("run", "--name", "box", *LIMIT, *greedy, check=False).returncode == 137
    assert state(agent, "box") == ("exited", 137, True)
    assert events(agent, "box") == ["create", "start", "oom", "die"]
    assert figure(agent, 'nodeagent_container_ends_total{outcome="oom"}') == 1
    agent.cli("run", "-d", "--name", "killed", *LIMIT, "busybox", "sleep", "1000")
    agent.cli("kill", "killed")
    agent.cli("wait", "killed")
    assert state(agent, "killed") == ("exited", 137, False)  # the same code, another reason


def test_a_child_while_the_first_process_goes_on(agent: Agent) -> None:
    script = f"{GREEDY}; echo child $?; while [ ! -e /go ]; do sleep 0.1; done; exit 5"
    agent.cli("run", "-d", "--name", "box", *LIMIT, "busybox", "sh", "-c", script)
    deadline = time.monotonic() + ANSWER_S
    while "child 137" not in agent.say("logs", "box"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert figure(agent, "nodeagent_container_oom_events_total{") == 1
    agent.cli("exec", "box", "touch", "/go")
    assert agent.say("wait", "box") == "5"
    assert state(agent, "box") == ("exited", 5, True)


def test_while_the_agent_was_away_and_a_start_forgets_it(agent: Agent) -> None:
    script = f"while [ ! -e /go ]; do sleep 0.1; done; [ -e /good ] || exec {GREEDY}"
    agent.cli("run", "-d", "--name", "box", *LIMIT, "busybox", "sh", "-c", script)
    process = Path(f"/proc/{agent.pid_of('box')}")
    agent.kill()
    (process / "root/go").touch()
    deadline = time.monotonic() + ANSWER_S
    while process.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    agent.start()
    assert state(agent, "box") == ("exited", 137, True)
    assert events(agent, "box")[-2:] == ["oom", "die"]
    agent.pipe("cp", "-", "box:/", data=build_tar({"good": b""}))
    agent.cli("start", "box")
    assert agent.say("wait", "box") == "0"
    assert state(agent, "box") == ("exited", 0, False)
