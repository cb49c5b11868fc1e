"""Whose processes, IPC, names and groups a container has, as the kernel tells it.

Covers nodeagent/control/namespacerules.py, nodeagent/control/starting.py, runtime/sharedmemory.py
"""

import os
import signal
import socket
from pathlib import Path

import pytest

from nodeagent.control.hostinfo import security_modules
from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")
KINDS = ("pid", "ipc", "uts", "cgroup")


def namespaces(agent: Agent, name: str) -> dict[str, int]:
    pid = agent.pid_of(name)
    return {kind: Path(f"/proc/{pid}/ns/{kind}").stat().st_ino for kind in KINDS}


def of_host() -> dict[str, int]:
    return {kind: Path(f"/proc/self/ns/{kind}").stat().st_ino for kind in KINDS}


@pytest.mark.parametrize(
    ("flag", "kind"),
    [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")],
)
def test_the_hosts_only_where_asked_for(shared_agent: Agent, flag: str, kind: str) -> None:
    host = of_host()
    for mode, is_hosts in (("host", True), ("private", False)):
        shared_agent.cli("run", "-d", "--name", "box", flag, mode, *SLEEP)
        try:
            found = namespaces(shared_agent, "box")
        finally:
            shared_agent.cli("rm", "-f", "box")
        assert (found[kind] == host[kind]) is is_hosts
        others = [each for each in ("pid", "ipc", "uts") if each != kind]
        assert [each for each in others if found[each] == host[each]] == []


def test_processes_of_another_container_until_it_ends(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "owner", "busybox", "sleep", "1001")
    share = ("--pid", "container:owner")
    agent.cli("run", "-d", "--name", "guest", *share, *SLEEP)
    assert namespaces(agent, "guest")["pid"] == namespaces(agent, "owner")["pid"]
    assert "sleep 1001" in agent.say("exec", "guest", "ps")
    agent.kill()
    agent.start()
    agent.cli("stop", "-t", "0", "owner")
    assert agent.say("wait", "guest") == "137"  # the kernel ends all of a namespace with its first
    done = agent.cli("start", "guest", check=False)
    assert "does not run" in done.stderr
    assert "pid_mode" in done.stderr
    agent.cli("start", "owner")
    agent.cli("start", "guest")
    assert "sleep 1001" in agent.say("exec", "guest", "ps")
    assert agent.cli("run", "--pid", "container:nobody", *SLEEP, check=False).returncode == 125


def test_the_hosts_processes_and_names(shared_agent: Agent) -> None:
    agent = shared_agent
    ours = f"/proc/{agent.pid}/comm"
    assert agent.say("run", "--rm", "--pid", "host", "busybox", "cat", ours)
    assert agent.cli("run", "--rm", "busybox", "cat", ours, check=False).returncode == 1
    said = agent.say(
        "run", "--rm", "--uts", "host", "busybox", "sh", "-c", "hostname; echo $HOSTNAME"
    )
    assert said.split() == [socket.gethostname()] * 2
    done = agent.cli("run", "--rm", "--uts", "host", "--hostname", "x", *SLEEP, check=False)
    assert "hostname" in done.stderr


def test_what_is_left_of_a_container_that_sees_the_host_is_ended(agent: Agent) -> None:
    """Without a namespace of their own the kernel would let its children live on."""
    script = "sleep 4321 & exit 3"
    assert agent.cli("run", "--name", "box", "--pid", "host", "busybox", "sh", "-c", script,
                     check=False).returncode == 3  # fmt: skip
    agent.cli("rm", "box")
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert [line for line in lines if b"sleep\x004321" in line] == []


def test_shared_memory_by_mode(shared_agent: Agent) -> None:
    def look(*flags: str) -> str:
        return shared_agent.say("run", "--rm", *flags, "busybox", "sh", "-c",
                                "stat -c %d /dev/shm 2>/dev/null || echo none")  # fmt: skip

    assert look("--ipc", "none") == "none"
    assert look("--ipc", "host") == str(Path("/dev/shm").stat().st_dev)
    assert look() != look("--ipc", "host")
    done = shared_agent.cli("run", "--rm", "--ipc", "shared", *SLEEP, check=False)
    assert "ipc_mode" in done.stderr
    assert "private, host, none, shareable, container:NAME" in done.stderr


def test_shared_memory_with_another_container(agent: Agent) -> None:
    before = agent.snapshot()
    agent.cli("run", "-d", "--name", "owner", "--ipc", "shareable", "--shm-size", "3m", *SLEEP)
    join = ("--ipc", "container:owner")
    agent.cli("run", "-d", "--name", "guest", *join, *SLEEP)
    assert namespaces(agent, "guest")["ipc"] == namespaces(agent, "owner")["ipc"]
    agent.cli("exec", "owner", "sh", "-c", "echo shared > /dev/shm/note")
    agent.kill()
    agent.start()
    assert agent.say("exec", "guest", "cat", "/dev/shm/note") == "shared"
    mounts = agent.say("exec", "guest", "grep", " /dev/shm ", "/proc/self/mounts")
    assert "size=3072k" in mounts
    assert "noexec" in mounts
    agent.cli("run", "-d", "--name", "alone", *SLEEP)
    done = agent.cli("run", "--ipc", "container:alone", *SLEEP, check=False)
    assert "does not share its IPC" in done.stderr
    agent.cli("stop", "-t", "0", "owner")
    assert agent.say("exec", "guest", "cat", "/dev/shm/note") == "shared"  # as long as it runs
    agent.cli("stop", "-t", "0", "guest")
    done = agent.cli("start", "guest", check=False)
    assert "ipc_mode" in done.stderr
    agent.cli("start", "owner")
    agent.cli("start", "guest")
    assert agent.cli("exec", "guest", "ls", "/dev/shm").stdout == ""
    agent.cli("rm", "-f", "owner", "guest", "alone")
    agent.expect(before)


def test_shared_memory_is_taken_away_after_a_kill(agent: Agent) -> None:
    before = agent.snapshot()
    agent.cli("run", "-d", "--name", "owner", "--ipc", "shareable", *SLEEP)
    pid = agent.pid_of("owner")
    agent.kill()
    os.kill(pid, signal.SIGKILL)
    agent.start()
    agent.cli("rm", "-f", "owner")
    agent.expect(before)


def test_labels_that_would_not_hold_are_refused(shared_agent: Agent) -> None:
    for option, field in (("apparmor=mine", "apparmor"), ("label=type:x_t", "selinux[0]")):
        if security_modules() & {field.partition("[")[0]}:
            continue
        flags = ("--security-opt", option)
        done = shared_agent.cli("run", "--rm", *flags, "busybox", "true", check=False)
        assert done.returncode == 125
        assert field in done.stderr
        assert "leave it out" in done.stderr
    flags = ("--security-opt", "apparmor=unconfined", "--security-opt", "label=disable")
    shared_agent.cli("create", "--name", "box", *flags, *SLEEP)
    found = shared_agent.inspect("container", "box")["HostConfig"]["SecurityOpt"]
    shared_agent.cli("rm", "box")
    assert found == ["apparmor=unconfined", "label=disable"]


def test_a_domain_of_its_own(shared_agent: Agent) -> None:
    script = "cat /proc/sys/kernel/domainname; hostname -f; id -G"
    said = shared_agent.say("run", "--rm", "--hostname", "web", "--domainname", "shop.test",
                            "--group-add", "65534", "busybox", "sh", "-c", script)  # fmt: skip
    assert said.splitlines() == ["shop.test", "web.shop.test", "0 65534"]


def test_system_paths_open_only_where_asked_for(shared_agent: Agent) -> None:
    look = ("busybox", "sh", "-c", "grep -c ' /proc/' /proc/self/mounts")
    assert int(shared_agent.cli("run", "--rm", *look, check=False).stdout) > 3
    opened = shared_agent.cli(
        "run", "--rm", "--security-opt", "systempaths=unconfined", *look, check=False
    )
    assert opened.stdout == "0\n"
