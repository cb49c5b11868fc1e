"""update: limits in the kernel without a restart, and after one.

Covers runtime/container/limiting.py, runtime/container/spawn.py
"""

import time
from pathlib import Path

from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


def memory_limit(agent: Agent, name: str) -> int:
    """What the kernel has, by cgroup v1 or v2."""
    lines = Path(f"/proc/{agent.pid_of(name)}/cgroup").read_text("utf-8").splitlines()
    found = {line.split(":")[1]: line.split(":", 2)[2] for line in lines}
    if "memory" in found:
        return int(
            Path(f"/sys/fs/cgroup/memory{found['memory']}/memory.limit_in_bytes").read_text("utf-8")
        )
    return int(Path(f"/sys/fs/cgroup{found['']}/memory.max").read_text("utf-8"))


def test_limits_change_live_and_stay(shared_agent: Agent) -> None:
    agent = shared_agent
    agent.cli("run", "-d", "--name", "box", "-m", "64m", *SLEEP)
    pid = agent.pid_of("box")
    assert memory_limit(agent, "box") == 64 << 20
    agent.cli("update", "-m", "96m", "--memory-swap", "192m", "--cpus", "0.5", "box")
    assert agent.pid_of("box") == pid
    assert memory_limit(agent, "box") == 96 << 20
    agent.cli("restart", "-t", "0", "box")
    assert memory_limit(agent, "box") == 96 << 20
    agent.cli("rm", "-f", "box")


def test_what_the_kernel_refuses_changes_nothing(shared_agent: Agent) -> None:
    agent = shared_agent
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    before = agent.inspect("container", "box")
    done = agent.cli("update", "--cpuset-cpus", "4000", "box", check=False)
    assert done.returncode == 1
    assert agent.inspect("container", "box")["HostConfig"] == before["HostConfig"]
    for words in (("update", "box"), ("update", "-m", "1k", "box"), ("update", "-m", "9m", "no")):
        assert agent.cli(*words, check=False).returncode != 0, words
    agent.cli("rm", "-f", "box")


def test_the_restart_policy_changes_live(shared_agent: Agent) -> None:
    agent = shared_agent
    agent.cli("create", "--name", "job", "busybox", "false")
    agent.cli("update", "--restart", "on-failure:2", "job")
    agent.cli("start", "job")
    give_up = time.monotonic() + 20.0
    while agent.inspect("container", "job")["RestartCount"] < 2:
        assert time.monotonic() < give_up
    agent.cli("update", "--restart", "no", "job")
    agent.cli("rm", "-f", "job")
