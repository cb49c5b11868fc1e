"""Containers with user ids that nobody else has, as the kernel and the disk tell it.

Covers nodeagent/control/idranges.py, nodeagent/control/starting.py, runtime/idmounts.py
"""

import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeagent.control.idranges import COUNT
from tests.system.harness.agent import Agent

AUTO = ("--userns", "auto")
SLEEP = ("busybox", "sleep", "1000")


def first_of(agent: Agent, name: str) -> int:
    inside, outside, count = Path(f"/proc/{agent.pid_of(name)}/uid_map").read_text("ascii").split()
    assert (inside, int(count)) == ("0", COUNT)
    return int(outside)


def owner_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def upper(agent: Agent, name: str) -> Path:
    return agent.root / "containers" / agent.inspect("container", name)["Id"] / "upper"


def test_root_inside_is_nobody_outside(agent: Agent) -> None:
    before = agent.snapshot()
    agent.cli("run", "-d", "--name", "one", *AUTO, *SLEEP)
    agent.cli("run", "-d", "--name", "two", *AUTO, *SLEEP)
    first, second = first_of(agent, "one"), first_of(agent, "two")
    assert abs(first - second) >= COUNT
    assert min(first, second) >= COUNT
    status = Path(f"/proc/{agent.pid_of('one')}/status").read_text("utf-8")
    assert f"Uid:\t{first}\t{first}\t{first}\t{first}\n" in status
    assert agent.say("exec", "one", "id", "-u") == "0"
    owners = agent.say("exec", "one", "stat", "-c", "%u:%g", "/", "/bin/busybox", "/etc/hosts")
    assert owners.split() == ["0:0"] * 3
    agent.cli("exec", "one", "sh", "-c", "touch /own && chown 7:8 /own && mkdir -p /d/e")
    assert owner_of(upper(agent, "one") / "own") == (first + 7, first + 8)
    refused = ("exec", "one", "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq")
    assert agent.cli(*refused, check=False).returncode
    assert agent.inspect("container", "one")["HostConfig"]["UsernsMode"] == "auto"
    agent.cli("rm", "-f", "one", "two")
    agent.expect(before)


def test_it_stays_so_over_kills_stops_and_starts(agent: Agent) -> None:
    before = agent.snapshot()
    agent.cli("run", "-d", "--name", "box", *AUTO, "-w", "/made/here", *SLEEP)
    first = first_of(agent, "box")
    assert agent.say("exec", "box", "stat", "-c", "%u:%g", "/made", "/made/here") == "0:0\n0:0"
    agent.cli("exec", "box", "sh", "-c", "echo kept > /note && chown 5 /note")
    agent.kill()
    agent.start()
    assert agent.say("exec", "box", "cat", "/note") == "kept"
    agent.cli("stop", "-t", "0", "box")
    agent.cli("start", "box")
    assert first_of(agent, "box") == first
    assert agent.say("exec", "box", "stat", "-c", "%u", "/note") == "5"
    pid = agent.pid_of("box")
    agent.kill()
    os.kill(pid, signal.SIGKILL)
    agent.start()
    agent.cli("rm", "-f", "box")
    agent.expect(before)


def test_its_network_is_as_any(agent: Agent) -> None:
    """A port below 1024 and a setting of the network need rights that it has not."""
    agent.cli("network", "create", "net")
    flags = ("--network", "net", "--sysctl", "net.core.somaxconn=77")
    serve = "echo hi > /index.html; httpd -f -h / -p 80"
    agent.cli("run", "-d", "--name", "web", *AUTO, *flags, "busybox", "sh", "-c", serve)
    assert agent.say("exec", "web", "cat", "/proc/sys/net/core/somaxconn") == "77"
    ask = ("run", "--rm", *AUTO, "--network", "net", "busybox")
    again = "for n in 1 2 3 4 5; do wget -q -O - http://web/ && exit; sleep 1; done"
    assert agent.say(*ask, "sh", "-c", again) == "hi"
    ping = agent.say(*ask, "cat", "/proc/sys/net/ipv4/ping_group_range").split()
    assert int(ping[1]) - int(ping[0]) == COUNT - 1  # for sockets of ping; raw ones are not its
    assert agent.cli("exec", "web", "ip", "link", "set", "eth0", "down", check=False).returncode


def test_volumes_belong_to_whoever_mounts_them(agent: Agent) -> None:
    agent.cli("volume", "create", "shared")
    script = "cp /bin/busybox /v/; chown 9:9 /v/busybox; echo a > /v/note; chown 33:34 /v/note"
    agent.cli("run", "--rm", *AUTO, "-v", "shared:/v", "busybox", "sh", "-c", script)
    look = ("stat", "-c", "%u:%g", "/v/busybox", "/v/note")
    plain = agent.say("run", "--rm", "-v", "shared:/v", "busybox", *look)
    mapped = agent.say("run", "--rm", *AUTO, "-v", "shared:/v", "busybox", *look)
    assert plain == mapped == "9:9\n33:34"
    agent.cli("run", "--rm", *AUTO, "-v", "filled:/bin", "busybox", "true")  # copy-up
    said = agent.say("run", "--rm", "-v", "filled:/v", "busybox", "stat", "-c", "%u", "/v/busybox")
    assert said == "0"


def test_cp_diff_commit_and_export_speak_of_ids_inside(agent: Agent, tmp_path: Path) -> None:
    agent.cli("volume", "create", "data")
    agent.cli("run", "-d", "--name", "box", *AUTO, "-v", "data:/data", *SLEEP)
    agent.cli("exec", "box", "sh", "-c", "mkdir /d && echo x > /d/f && chown -R 11:12 /d")
    diff = agent.say("diff", "box").splitlines()
    assert "A /d" in diff
    assert not {"C /bin", "C /usr", "C /dev", "C /etc"} & set(diff)
    mine = tmp_path / "mine"
    mine.write_text("from outside")
    for target in ("/mine", "/data/mine"):
        agent.cli("cp", str(mine), f"box:{target}")
        assert agent.say("exec", "box", "stat", "-c", "%u:%g", target) == "0:0"
        assert agent.say("exec", "box", "cat", target) == "from outside"
    agent.cli("cp", "box:/d", str(tmp_path / "out"))
    assert (tmp_path / "out/f").read_text("utf-8") == "x\n"
    agent.cli("export", "-o", str(tmp_path / "root.tar"), "box")
    with tarfile.open(tmp_path / "root.tar") as tar:
        owners = {each.name: (each.uid, each.gid) for each in tar}
    assert (owners["d/f"], owners["bin/busybox"], owners["mine"]) == ((11, 12), (0, 0), (0, 0))
    agent.cli("commit", "box", "made:1")
    said = agent.say("run", "--rm", "made:1", "stat", "-c", "%u:%g", "/d", "/d/f", "/mine")
    assert said == "11:12\n11:12\n0:0"
    agent.cli("stop", "-t", "0", "box")
    agent.cli("cp", str(mine), "box:/later")
    agent.cli("start", "box")
    assert agent.say("exec", "box", "stat", "-c", "%u", "/later") == "0"


def test_a_runtime_that_cannot_exec_in_it_is_told_at_once(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(settings='runtime = "runc"\n')
    before = agent.snapshot()
    done = agent.cli("run", "--name", "box", *AUTO, *SLEEP, check=False)
    assert done.returncode == 125
    assert "apt install crun" in done.stderr
    agent.cli("rm", "box")
    agent.expect(before)


@pytest.mark.parametrize(
    "flags",
    [
        ("--privileged",),
        ("--pid", "host"),
        ("--ipc", "host"),
        ("--uts", "host"),
        ("--network", "host"),
    ],
)
def test_nothing_of_the_hosts_with_it(shared_agent: Agent, flags: tuple[str, ...]) -> None:
    done = shared_agent.cli("run", "--rm", *AUTO, *flags, "busybox", "true", check=False)
    assert done.returncode == 125
    assert "userns_mode auto" in done.stderr
    assert shared_agent.say("ps", "-aq") == ""


def test_files_that_cannot_be_mapped_are_told(agent: Agent) -> None:
    before = agent.snapshot()
    bind = ("-v", "/proc/fs:/x")
    done = agent.cli("run", *AUTO, "--name", "box", *bind, "busybox", "true", check=False)
    assert done.returncode == 125
    assert "map the owners" in done.stderr
    assert "/proc/fs" in done.stderr
    agent.cli("rm", "box")
    agent.expect(before)
    for bad in ("keep-id", "x"):
        done = agent.cli("create", "--userns", bad, "busybox", "true", check=False)
        assert "userns_mode" in done.stderr
