"""What the agent finds when it comes back."""

import os
import select
import time
from concurrent.futures import ThreadPoolExecutor

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

END_S = 30.0
ALWAYS_STARTS = {"container": ["always"], "event": ["start"]}


def wait_gone(pid: int) -> None:
    """Wait for the end of a process that is no child of ours."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], END_S)[0], "it runs on"
    finally:
        os.close(fd)


def test_an_exit_while_the_agent_was_dead_is_told_exactly(agent: Agent) -> None:
    script = "while [ ! -e /go ]; do sleep 0.05; done; echo last words; exit 42"
    agent.cli("run", "-d", "--name", "short", "busybox", "sh", "-c", script)
    view = agent.inspect("container", "short")
    agent.kill()
    (agent.root / "containers" / view["Id"] / "merged" / "go").touch()
    wait_gone(view["State"]["Pid"])
    agent.start()
    state = agent.inspect("container", "short")["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 42, 0)
    assert state["FinishedAt"] > state["StartedAt"]
    assert agent.say("logs", "short") == "last words"
    assert agent.say("wait", "short") == "42"


def test_a_clean_stop_leaves_containers_running(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", "busybox", "sleep", "1000")
    pid = agent.pid_of("web")
    agent.stop()
    agent.start()
    assert agent.pid_of("web") == pid
    assert agent.say("exec", "web", "nslookup", "web", "127.0.0.11")
    agent.cli("stop", "-t", "0", "web")
    assert agent.inspect("container", "web")["State"]["ExitCode"] == 137


def test_policies_decide_at_the_start_of_the_agent(agent: Agent) -> None:
    sleep = ("busybox", "sleep", "1000")
    for policy in ("always", "unless-stopped", "no"):
        agent.cli("run", "-d", "--name", policy, "--restart", policy, *sleep)
        agent.cli("stop", "-t", "0", policy)
    agent.stop()
    agent.start()
    agent.cli("system", "ping")
    states = {row["Names"]: row["State"] for row in agent.rows("container", "-a")}
    assert states["unless-stopped"] == "exited"
    assert states["no"] == "exited"
    with (
        open_sync_client(agent.host) as client,
        client.stream("system.events", {"since": "1h", "filters": ALWAYS_STARTS}) as starts,
    ):
        next(iter(starts))  # the agent is ready before its policies have acted
    assert agent.inspect("container", "always")["State"]["Status"] == "running"


def test_a_stop_and_a_restart_cut_off_by_a_crash_are_finished(agent: Agent) -> None:
    deaf = ("--restart", "always", "--stop-timeout", "2", "busybox", "sleep", "1000")
    for name in ("down", "again"):
        agent.cli("run", "-d", "--name", name, *deaf)
    before = agent.pid_of("again")
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(agent.cli, verb, name, check=False)
                 for verb, name in (("stop", "down"), ("restart", "again"))]  # fmt: skip
        time.sleep(1.0)
        agent.kill()
        assert all(call.result().returncode for call in calls)
    agent.start()
    until = time.monotonic() + 30.0
    while agent.inspect("container", "down")["State"]["Running"] or agent.pid_of("again") in {
        before, 0
    }:  # fmt: skip
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(0.5)
    assert agent.inspect("container", "down")["State"]["Status"] == "exited"
    assert agent.inspect("container", "again")["State"]["Status"] == "running"
