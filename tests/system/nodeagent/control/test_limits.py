"""Limits and kernel settings as the kernel has them while the container runs.

Covers nodeagent/control/limitrules.py, runtime/container/iolimits.py
"""

import os
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


@pytest.mark.parametrize(
    ("flag", "value", "files"),
    [
        ("--device-read-bps", "1m", ("blkio.throttle.read_bps_device",)),
        ("--device-write-bps", "1048576", ("blkio.throttle.write_bps_device",)),
        ("--device-read-iops", "77", ("blkio.throttle.read_iops_device",)),
        ("--device-write-iops", "78", ("blkio.throttle.write_iops_device",)),
        ("--blkio-weight-device", "300", ("blkio.weight_device",)),
    ],
)
def test_a_device_is_held_back_or_the_limit_refused(
    agent: Agent, disk: str, flag: str, value: str, files: tuple[str, ...]
) -> None:
    before = agent.snapshot()
    numbers = Path(disk).stat().st_rdev
    made = agent.cli("run", "-d", "--name", "box", flag, f"{disk}:{value}", *SLEEP, check=False)
    if made.returncode:
        assert "this kernel cannot do it" in made.stderr
        assert files[0] in made.stderr
        agent.cli("rm", "box")
        agent.expect(before)
        return
    rate = value.replace("1m", str(1 << 20))
    line = f"{os.major(numbers)}:{os.minor(numbers)} {rate}"
    found = [read(agent, "box", "blkio", file) for file in files if has(agent, "box", file)]
    assert [text for text in found if line in text.splitlines()], found
    host = agent.inspect("container", "box")["HostConfig"]
    seen = [each for key in host if key.startswith("Blkio") for each in host[key] or ()]
    assert [list(each.values()) for each in seen] == [[disk, int(rate)]]


def test_what_no_device_is_makes_nothing(agent: Agent) -> None:
    before = agent.snapshot()
    for words, said in (("/dev/null:1m", "not a block device"), ("/dev/none:1m", "no such device")):
        flag = ("--device-read-bps", words)
        done = agent.cli("run", "--rm", *flag, "busybox", "true", check=False)
        assert done.returncode == 125
        assert said in done.stderr
        assert "io_limits[0].device" in done.stderr
    agent.expect(before)


def has(agent: Agent, name: str, file: str) -> bool:
    path = agent.inspect("container", name)["Id"]
    return (Path(f"/sys/fs/cgroup/blkio{agent.cgroup}") / path / file).exists()


@pytest.fixture
def disk() -> str:
    """A block device of the host that limits can be set for."""
    names = sorted(path.name for path in Path("/sys/block").iterdir() if not path.is_symlink())
    names = names or sorted(path.name for path in Path("/sys/block").iterdir())
    for name in names:
        if not name.startswith(("loop", "ram", "zram")):
            return f"/dev/{name}"
    pytest.skip("no block device of the host to limit")


FILL = "dd if=/dev/zero of=/big bs=1M 2>&1 | grep -o 'No space left'"


def test_a_writable_layer_of_a_size(agent: Agent) -> None:
    before = agent.snapshot()
    size = ("--storage-opt", "size=24m")
    agent.cli("run", "-d", "--name", "box", *size, *SLEEP)
    assert agent.say("exec", "box", "sh", "-c", FILL) == "No space left"
    assert 8 << 20 < int(agent.say("exec", "box", "stat", "-c", "%s", "/big")) < 24 << 20
    assert agent.cli("run", "--rm", "busybox", "touch", "/beside").returncode == 0
    page = agent.space.run("curl", "-s", "http://127.0.0.1:9323/metrics").stdout.splitlines()
    used, total = (
        float(line.split()[-1])
        for word in ("used", "size")
        for line in page
        if line.startswith(f"nodeagent_container_storage_{word}_bytes{{")
    )
    assert 0.9 < used / total <= 1
    assert 16 << 20 < total < 24 << 20
    agent.kill()
    agent.start()
    agent.cli("stop", "-t", "0", "box")
    assert "A /big" in agent.say("diff", "box")
    agent.cli("commit", "box", "full:1")
    agent.cli("rmi", "full:1")
    agent.kill()
    agent.start()
    agent.cli("update", "--storage-opt", "size=80m", "box")
    agent.cli("start", "box")
    grow = "cat /big /big > /more && echo there was room"
    assert agent.say("exec", "box", "sh", "-c", grow) == "there was room"
    found = agent.inspect("container", "box")["HostConfig"]["StorageOpt"]
    assert found == {"size": str(80 << 20)}
    for smaller in ("size=24m", "inodes=5"):
        done = agent.cli("update", "--storage-opt", smaller, "box", check=False)
        assert done.returncode
    agent.cli("rm", "-f", "box")
    done = agent.cli("create", "--storage-opt", "size=1m", *SLEEP, check=False)
    assert "storage_size_bytes" in done.stderr
    agent.expect(before)
