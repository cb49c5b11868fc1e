"""Volumes as objects of their own.

Covers voldrivers/subpath.py, voldrivers/graft.py
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent

RUN = ("run", "--rm")


def test_data_outlives_the_container(agent: Agent) -> None:
    agent.cli(*RUN, "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file")
    assert agent.say(*RUN, "-v", "data:/d:ro", "busybox", "cat", "/d/file") == "kept"
    view = agent.inspect("volume", "data")
    assert view["Driver"] == "local"
    assert view["Mountpoint"] == f"{agent.root}/volumes/data/_data"
    assert view["UsageData"]["RefCount"] == 0


def test_anonymous_ones_go_with_rm_v_and_with_rm(agent: Agent) -> None:
    agent.cli(*RUN, "-v", "/d", "busybox", "true")
    assert agent.rows("volume") == []
    agent.cli("run", "--name", "box", "-v", "/d", "-v", "named:/n", "busybox", "true")
    assert len(agent.rows("volume")) == 2
    agent.cli("rm", "-v", "box")
    assert [row["Name"] for row in agent.rows("volume")] == ["named"]


def test_prune_takes_anonymous_ones_and_with_all_the_named(agent: Agent) -> None:
    agent.cli("volume", "create", "named")
    agent.cli("volume", "create")
    agent.cli("volume", "prune", "-f")
    assert [row["Name"] for row in agent.rows("volume")] == ["named"]
    agent.cli("volume", "prune", "-f", "-a")
    assert agent.rows("volume") == []


def test_create_is_idempotent_and_nocopy_is_obeyed(agent: Agent) -> None:
    assert agent.say("volume", "create", "data") == "data"
    assert agent.say("volume", "create", "data") == "data"
    assert "passwd" in agent.say(*RUN, "busybox", "ls", "/etc")
    assert (
        agent.say(*RUN, "-v", "data:/etc:nocopy", "busybox", "find", "/etc", "-name", "passwd")
        == ""
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("create", "../x"), "name"),
        (("create", "--driver", "nope", "x"), "driver"),
        (("create", "--opt", "nope=1", "x"), "nope"),
        (("rm", "absent"), "no such volume"),
        (("inspect", "absent"), "no such volume"),
    ],
)
def test_bad_input(agent: Agent, args: tuple[str, ...], says: str) -> None:
    done = agent.cli("volume", *args, check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert agent.rows("volume") == []


# --- drivers --------------------------------------------------------------------------------------


def create(agent: Agent, name: str, driver: str, *more: str, **options: str) -> None:
    opts = [word for key, value in options.items() for word in ("--opt", f"{key}={value}")]
    agent.cli("volume", "create", "--driver", driver, *opts, *more, name)


def mounts_of(agent: Agent) -> list[str]:
    lines = Path(f"/proc/{agent.pid}/mountinfo").read_text("utf-8").splitlines()
    return [line.split()[4] for line in lines if f"{agent.root}/volumes/" in line.split()[4]]


def test_a_full_image_volume_is_full_inside_only(agent: Agent) -> None:
    create(agent, "db", "image", size="16m")
    says = agent.cli(
        *RUN, "-v", "db:/d", "busybox", "dd", "if=/dev/zero", "of=/d/x", "bs=1M", "count=32",
        check=False,
    )  # fmt: skip
    assert "No space left" in says.stderr
    assert mounts_of(agent) == []
    assert agent.say(*RUN, "-v", "db:/d", "busybox", "ls", "/d") == "x"
    view = agent.inspect("volume", "db")
    assert (view["Driver"], view["Options"]) == ("image", {"size": "16m"})


def test_a_tmpfs_volume_is_shared_by_those_that_run(agent: Agent) -> None:
    create(agent, "scratch", "tmpfs", size="1m")
    agent.cli("run", "-d", "--name", "one", "-v", "scratch:/d", "busybox", "sleep", "1000")
    agent.cli("exec", "one", "sh", "-c", "echo here > /d/file")
    assert agent.say(*RUN, "-v", "scratch:/d", "busybox", "cat", "/d/file") == "here"
    view = agent.inspect("volume", "scratch")
    assert view["UsageData"]["Limit"] == 1 << 20
    assert [each["Access"] for each in view["Leases"]] == ["rw"]
    agent.cli("rm", "-f", "one")
    assert agent.say(*RUN, "-v", "scratch:/d", "busybox", "ls", "/d") == ""
    assert mounts_of(agent) == []


def test_one_writer_at_a_time(agent: Agent) -> None:
    create(agent, "db", "local", "--sharing", "onewriter")
    agent.cli("run", "-d", "--name", "writer", "-v", "db:/d", "busybox", "sleep", "1000")
    done = agent.cli(*RUN, "-v", "db:/d", "busybox", "true", check=False)
    assert done.returncode == 125
    assert "onewriter" in done.stderr
    agent.cli(*RUN, "-v", "db:/d:ro", "busybox", "true")
    agent.kill()
    agent.start()
    assert agent.cli(*RUN, "-v", "db:/d", "busybox", "true", check=False).returncode == 125
    epoch = agent.inspect("volume", "db")["Leases"][0]["Epoch"]
    agent.cli("rm", "-f", "writer")
    agent.cli("run", "-d", "--name", "next", "-v", "db:/d", "busybox", "sleep", "1000")
    view = agent.inspect("volume", "db")
    assert view["LastUser"] == "next"
    assert view["Leases"][0]["Epoch"] > epoch


def test_what_ended_while_the_agent_was_dead_is_unmounted(agent: Agent) -> None:
    create(agent, "db", "image", size="16m")
    agent.cli("run", "-d", "--name", "one", "-v", "db:/d", "busybox", "sleep", "1000")
    pid = agent.pid_of("one")
    agent.kill()
    os.kill(pid, signal.SIGKILL)
    agent.start()
    until(lambda: not agent.inspect("volume", "db")["Leases"])
    assert mounts_of(agent) == []
    agent.cli("start", "one")
    assert len(mounts_of(agent)) == 1


def test_a_share_whose_program_hangs_costs_nobody_else(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shared", encoding="utf-8")
    create(agent, "share", "fuse", helper="rclone", source=str(tmp_path))
    agent.cli("run", "-d", "--name", "user", "-v", "share:/d", "busybox", "sleep", "1000")
    assert agent.say("exec", "user", "cat", "/d/file") == "shared"
    agent.cli("volume", "create", "other")
    with stopped(helpers(agent)):
        assert agent.inspect("volume", "share")["Health"] == "unhealthy"
        (row,) = [each for each in agent.rows("volume") if each["Name"] == "share"]
        assert row["Status"].startswith("stale")
        agent.cli(*RUN, "-v", "other:/d", "busybox", "true")
        done = agent.cli(*RUN, "-v", "share:/d", "busybox", "true", check=False)
        assert "share" in done.stderr
        agent.cli("rm", "-f", "user")
        agent.stop()
        agent.start()
    until(lambda: not agent.inspect("volume", "share")["Leases"])
    assert mounts_of(agent) == []
    agent.cli("volume", "rm", "share")
    assert (tmp_path / "file").exists()


def test_a_share_whose_program_died_comes_back_in_the_containers(
    agent: Agent, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_text("shared", encoding="utf-8")
    create(agent, "share", "fuse", helper="rclone", source=str(tmp_path))
    mounts = (
        "-v",
        "share:/d",
        "-v",
        "share:/ro:ro",
        "--mount",
        "src=share,dst=/p,volume-subpath=sub",
    )
    agent.cli("run", "-d", "--name", "user", *mounts, "busybox", "sleep", "1000")
    places = {"/d/sub/file", "/ro/sub/file", "/p/file"}
    for path in places:
        assert agent.say("exec", "user", "cat", path) == "shared"
    for pid in helpers(agent):
        os.kill(pid, signal.SIGKILL)
    assert agent.cli("exec", "user", "cat", "/d/sub/file", check=False).returncode != 0

    def works(path: str) -> bool:
        return agent.cli("exec", "user", "cat", path, check=False).stdout == "shared"

    for path in places:
        until(lambda path=path: works(path))
    agent.cli("exec", "user", "sh", "-c", "echo new > /d/new")
    until((tmp_path / "new").exists)  # rclone writes behind
    refused = agent.cli("exec", "user", "touch", "/ro/x", check=False)
    assert "Read-only" in refused.stderr
    agent.cli("rm", "-f", "user")
    assert mounts_of(agent) == []


def helpers(agent: Agent) -> list[int]:
    """Pids of the programs that mount below the agent's root."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                if argv[0].endswith(b"rclone") and bytes(agent.root) in b" ".join(argv):
                    found.append(int(entry.name))
    assert found
    return found


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def until(holds: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- a real plugin ------------------------------------------------------------------------------


class Rclone:
    """``rclone serve docker`` on a socket, with a folder as its remote."""

    def __init__(self, base: Path) -> None:
        self.folder, self.remote = base / "plugins", base / "remote"
        self._mounts, self._cache = base / "mounts", base / "cache"
        for path in (self.folder, self.remote, self._mounts, self._cache):
            path.mkdir()
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        socket = self.folder / "rclone.sock"
        self._child = subprocess.Popen(
            ["rclone", "serve", "docker", "--socket-addr", socket, "--base-dir", self._mounts,
             "--cache-dir", self._cache, "--dir-cache-time", "0s",
             # version 1.60 hangs when it restores a mount before it listens
             "--forget-state"],
            env={"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(socket.is_socket)

    def signal(self, number: int) -> None:
        assert self._child
        self._child.send_signal(number)

    def end(self) -> None:
        if self._child:
            self._child.send_signal(signal.SIGCONT)
            self._child.kill()
            self._child.wait()
            (self.folder / "rclone.sock").unlink(missing_ok=True)
            self._child = None
        for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
            if line.split()[4].startswith(f"{self._mounts}/"):
                subprocess.run(["umount", "-l", line.split()[4]], check=True)


@pytest.fixture
def rclone(tmp_path: Path) -> Iterator[Rclone]:
    made = Rclone(tmp_path)
    made.start()
    yield made
    made.end()


@pytest.fixture
def with_plugin(rclone: Rclone, make_agent: Callable[..., Agent]) -> Agent:
    return make_agent(settings=f'[volume]\nplugin_folders = ["{rclone.folder}"]\n')


def create_remote(agent: Agent, rclone: Rclone, name: str) -> None:
    agent.cli("volume", "create", "-d", "rclone", "-o", f"remote={rclone.remote}", name)


def test_rclone_is_a_volume(with_plugin: Agent, rclone: Rclone) -> None:
    agent = with_plugin
    create_remote(agent, rclone, "share")
    agent.cli(*RUN, "-v", "share:/d", "busybox", "sh", "-c", "echo through fuse > /d/file")
    assert (rclone.remote / "file").read_text("utf-8") == "through fuse\n"
    agent.cli("run", "-d", "--name", "one", "-v", "share:/d", "busybox", "sleep", "1000")
    assert agent.say(*RUN, "-v", "share:/d:ro", "busybox", "cat", "/d/file") == "through fuse"
    view = agent.inspect("volume", "share")
    assert (view["Driver"], view["Health"], view["DriverState"]) == ("rclone", "healthy", "closed")
    assert view["Mountpoint"].endswith("/mounts/share")
    assert Path(view["Mountpoint"], "file").exists()  # the second user's end unmounted nothing
    in_use = agent.cli("volume", "rm", "share", check=False)
    assert "in use by one" in in_use.stderr
    agent.kill()
    agent.start()
    assert agent.say("exec", "one", "cat", "/d/file") == "through fuse"
    assert agent.inspect("volume", "share")["Health"] == "healthy"
    agent.cli("rm", "-f", "one")
    assert not Path(view["Mountpoint"], "file").exists()
    agent.cli("volume", "rm", "share")
    assert (rclone.remote / "file").exists()


def test_the_plugin_dies_under_a_mount_and_comes_back(with_plugin: Agent, rclone: Rclone) -> None:
    agent = with_plugin
    (rclone.remote / "file").write_text("kept", encoding="utf-8")
    create_remote(agent, rclone, "share")
    agent.cli("run", "-d", "--name", "one", "-v", "share:/d", "busybox", "sleep", "1000")
    rclone.end()
    assert agent.inspect("volume", "share")["Health"] == "unhealthy"
    agent.cli("volume", "create", "other")
    agent.cli(*RUN, "-v", "other:/d", "busybox", "true")
    agent.cli("rm", "-f", "one")  # the unmount is owed
    assert [each["Leaving"] for each in agent.inspect("volume", "share")["Leases"]] == [True]
    agent.stop()
    agent.start()  # waits for no plugin
    rclone.start()
    until(lambda: not agent.inspect("volume", "share")["Leases"])
    assert "not found" in agent.inspect("volume", "share")["HealthReason"]  # it forgot it
    create_remote(agent, rclone, "share")
    assert agent.say(*RUN, "-v", "share:/d", "busybox", "cat", "/d/file") == "kept"


def test_a_plugin_that_hangs_costs_nobody_else(with_plugin: Agent, rclone: Rclone) -> None:
    agent = with_plugin
    create_remote(agent, rclone, "share")
    agent.cli("volume", "create", "other")
    rclone.signal(signal.SIGSTOP)
    assert agent.inspect("volume", "share")["Health"] == "unhealthy"
    rows = {each["Name"]: each["Status"] for each in agent.rows("volume")}
    assert rows["other"] == "ok"
    assert rows["share"].startswith("stale: no answer")
    agent.cli(*RUN, "-v", "other:/d", "busybox", "true")
    for rest_s in (0.0, 1.5):  # while it is not asked, and when it may be asked again
        time.sleep(rest_s)
        began = time.monotonic()
        refused = agent.cli(*RUN, "-v", "share:/d", "busybox", "true", check=False)
        assert "does not answer" in refused.stderr
        assert time.monotonic() - began < 20  # and not the 2 minutes of a mount
    agent.stop()
    agent.start()
    rclone.signal(signal.SIGCONT)
    until(lambda: agent.inspect("volume", "share")["Health"] == "healthy")
    agent.cli(*RUN, "-v", "share:/d", "busybox", "touch", "/d/file")
    agent.cli("volume", "rm", "share")


# --- parts of a volume ----------------------------------------------------------------------------


def test_a_part_of_a_volume(agent: Agent) -> None:
    agent.cli(
        *RUN, "-v", "data:/d", "busybox", "sh", "-c",
        "mkdir -p /d/a/b && echo deep > /d/a/b/file && ln -s a/b /d/link && ln -s /etc /d/out",
    )  # fmt: skip

    def part(subpath: str, *command: str) -> subprocess.CompletedProcess[str]:
        mount = f"type=volume,src=data,dst=/p,volume-subpath={subpath}"
        return agent.cli(*RUN, "--mount", mount, "busybox", *command, check=False)

    assert part("a/b", "cat", "/p/file").stderr == ""
    assert part("a/b", "cat", "/p/file").stdout == "deep\n"
    assert part("a/b/file", "cat", "/p").stdout == "deep\n"
    assert part("link", "cat", "/p/file").stdout == "deep\n"
    for subpath, says in (
        ("../x", "without .."),
        ("/etc", "relative"),
        ("none", "no such subpath"),
        ("out", "no such subpath"),  # in the volume there is no /etc
    ):
        done = part(subpath, "ls", "/p")
        assert done.returncode == 125
        assert says in done.stderr
    agent.cli(
        "run", "-d", "--name", "box", "--mount", "src=data,dst=/p,volume-subpath=a",
        "busybox", "sleep", "1000",
    )  # fmt: skip
    pid = agent.pid_of("box")
    agent.kill()
    os.kill(pid, signal.SIGKILL)
    agent.start()
    parts = agent.run_dir / "subpaths"
    assert not list(parts.iterdir())
    agent.cli("start", "box")
    assert agent.say("exec", "box", "ls", "/p") == "b"
    agent.cli("rm", "-f", "box")
    assert not list(parts.iterdir())
