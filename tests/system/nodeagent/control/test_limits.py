"""Limits and kernel settings as the kernel has them while the container runs.

Covers nodeagent/control/limitrules.py
"""

from pathlib import Path

import pytest

from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


def read(agent: Agent, name: str, controller: str, file: str) -> str:
    """A file of the container's group; cgroup v1 (skipped by name on v2)."""
    lines = Path(f"/proc/{agent.pid_of(name)}/cgroup").read_text("utf-8").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return (
                (Path("/sys/fs/cgroup") / controller / path[1:] / file).read_text("utf-8").strip()
            )
    pytest.skip(f"cgroup v2 has no {controller}/{file}")


@pytest.mark.parametrize(
    ("flags", "controller", "file", "value"),
    [
        (("--cpu-period", "50000", "--cpu-quota", "20000"), "cpu", "cpu.cfs_quota_us", "20000"),
        (("--cpu-period", "50000", "--cpu-quota", "20000"), "cpu", "cpu.cfs_period_us", "50000"),
        (("--cpuset-mems", "0"), "cpuset", "cpuset.mems", "0"),
        (("--memory-swappiness", "7"), "memory", "memory.swappiness", "7"),
    ],
)
def test_limits_reach_the_kernel(
    shared_agent: Agent, flags: tuple[str, ...], controller: str, file: str, value: str
) -> None:
    shared_agent.cli("run", "-d", "--name", "box", *flags, *SLEEP)
    try:
        assert read(shared_agent, "box", controller, file) == value
    finally:
        shared_agent.cli("rm", "-f", "box")


def test_who_may_not_be_killed_waits(shared_agent: Agent) -> None:
    flags = ("-m", "16m", "--oom-kill-disable")
    shared_agent.cli("run", "-d", "--name", "box", *flags, *SLEEP)
    try:
        assert "oom_kill_disable 1" in read(shared_agent, "box", "memory", "memory.oom_control")
    finally:
        shared_agent.cli("rm", "-f", "box")


def test_kernel_settings_of_the_container_only(shared_agent: Agent) -> None:
    agent = shared_agent
    port = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    before = port.read_text("utf-8")
    settings = (
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=7",
        "--sysctl",
        "kernel.msgmax=777",
    )
    said = agent.say(
        "run", "--rm", *settings, "busybox", "cat", str(port), "/proc/sys/kernel/msgmax"
    )
    assert said.split() == ["7", "777"]
    assert port.read_text("utf-8") == before
    for bad in ("kernel.core_pattern=|/x", "vm.swappiness=1"):
        done = agent.cli("run", "--rm", "--sysctl", bad, "busybox", "true", check=False)
        assert done.returncode == 125
        assert "the host's" in done.stderr
    done = agent.cli(
        "run", "--rm", "--network", "host", "--sysctl", "net.core.somaxconn=1", "busybox", "true",
        check=False,
    )  # fmt: skip
    assert "container's own" in done.stderr


def test_a_device_by_number(shared_agent: Agent) -> None:
    probe = ("busybox", "sh", "-c", "mknod /f c 10 229 && head -c 0 /f && echo open")
    closed = shared_agent.cli("run", "--rm", *probe, check=False)
    assert "not permitted" in closed.stderr
    rule = ("--device-cgroup-rule", "c 10:229 rwm")
    opened = shared_agent.cli("run", "--rm", *rule, *probe, check=False)
    assert opened.stdout == "open\n", opened.stderr


def test_they_are_seen(shared_agent: Agent) -> None:
    flags = ("--cpu-quota", "20000", "--memory-swappiness", "0", "--sysctl", "kernel.sem=1 2 3 4")
    shared_agent.cli("create", "--name", "box", *flags, *SLEEP)
    found = shared_agent.inspect("container", "box")["HostConfig"]
    shared_agent.cli("rm", "box")
    assert (found["CpuQuota"], found["MemorySwappiness"]) == (20000, 0)
    assert found["Sysctls"] == {"kernel.sem": "1 2 3 4"}
