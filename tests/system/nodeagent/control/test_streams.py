"""What flows: attach, exec, logs, statistics."""

import json
import subprocess
import sys

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


def test_stdin_reaches_the_program_and_no_output_is_lost(agent: Agent) -> None:
    data = bytes(range(256)) * 4096
    argv = [sys.executable, "-m", "nodeagent", "--host", agent.host, "run", "--rm", "-i"]
    done = subprocess.run(
        [*argv, "busybox", "cat"], input=data, capture_output=True, timeout=60, check=True
    )
    assert done.stdout == data


def test_output_before_anybody_reads_is_whole(agent: Agent) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"
    lines = agent.say("run", "--rm", "busybox", "sh", "-c", script).splitlines()
    assert lines == [f"line {n}" for n in range(2000)]


def test_a_slow_reader_of_logs_holds_up_nobody(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "talk", "busybox", "sh", "-c", "yes | head -n 200000")
    params = {"name": "talk", "follow": True, "window": 4}
    with (
        open_sync_client(agent.host) as slow,
        open_sync_client(agent.host) as quick,
        slow.stream("container.logs", params) as logs,
    ):
        next(iter(logs))
        assert quick.call("container.wait", {"name": "talk"})["exit_code"] == 0
        assert sum(1 for _ in logs) == 200000 - 1


def test_follow_ends_with_the_container(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "talk", "busybox", "sh", "-c", "echo a; sleep 0.3; echo b")
    assert agent.say("logs", "-f", "talk") == "a\nb"


def test_an_exec_with_a_terminal(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    with open_sync_client(agent.host) as client:
        params = {"name": "box", "cmd": ["sh"], "tty": True, "stdin": True, "rows": 33,
                  "columns": 111}  # fmt: skip
        with client.stream("container.exec", params) as session:
            # what is typed is echoed: the whole size must come from stty
            session.send_input(
                b"until stty size | grep -q '^33 11'; do :; done; stty size; exit 4\n"
            )
            said = b"".join(item["data"] for item in session)
            assert b"33 111" in said
            assert session.result()["exit_code"] == 4


def test_cancelling_a_follow_leaves_the_container_alone(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    with open_sync_client(agent.host) as client:
        with client.stream("container.logs", {"name": "box", "follow": True}):
            pass
        assert client.call("container.ls", {})[0]["State"] == "running"


def test_statistics_and_processes(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "busy", "busybox", "sh", "-c", "while :; do :; done")
    (line,) = agent.say("stats", "--no-stream", "--format", "json", "busy").splitlines()
    assert json.loads(line)["CpuPercent"] > 1
    assert "while :" in agent.say("top", "busy")


def test_what_does_not_run_cannot_be_entered(agent: Agent) -> None:
    agent.cli("create", "--name", "idle", *SLEEP)
    done = agent.cli("exec", "idle", "true", check=False)
    assert done.returncode != 0
    assert "does not run" in done.stderr
