"""Volumes on a disk that is full, and on a backing file that goes away."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace

MIB = 1 << 20
RUN = ("run", "--rm")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    tar = tmp_path_factory.mktemp("image") / "busybox.tar"
    tar.write_bytes(build_busybox())
    with open_namespace() as space, open_agent(space, small_disk_bytes=96 * MIB) as made:
        made.cli("image", "import", str(tar), "busybox:latest")
        yield made


def free_mib(agent: Agent) -> int:
    return shutil.disk_usage(agent.root).free // MIB


def names(agent: Agent) -> list[str]:
    return [row["Name"] for row in agent.rows("volume", "--all")]


def test_what_does_not_fit_is_refused_and_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    agent.cli("volume", "create", "data")
    fill = f"dd if=/dev/urandom of=/d/file bs=1M count={free_mib(agent) * 6 // 10} 2>/dev/null"
    agent.cli(*RUN, "-v", "data:/d", "busybox", "sh", "-c", f"{fill}; sync")
    digest = agent.say(*RUN, "-v", "data:/d", "busybox", "sha256sum", "/d/file")
    archive = tmp_path / "data.tar"
    agent.cli("volume", "export", "-o", str(archive), "data")
    before = free_mib(agent)
    for words in (
        ("volume", "snapshot", "data", "one"),
        ("volume", "clone", "data", "copy"),
        ("volume", "import", "other", str(archive)),
        ("volume", "import", "data", str(archive)),
        ("volume", "create", "-d", "image", "-o", "size=1t", "huge"),
    ):
        done = agent.cli(*words, check=False)
        assert done.returncode == 1
        assert "No space left" in done.stderr or "larger than the disk" in done.stderr, words
        assert names(agent) == ["data"]
        assert abs(free_mib(agent) - before) <= 1
    agent.kill()
    agent.start()
    assert names(agent) == ["data"]
    assert agent.say(*RUN, "-v", "data:/d", "busybox", "sha256sum", "/d/file") == digest
    agent.cli("volume", "rm", "--now", "data")
    assert free_mib(agent) > before + 20


def test_a_sparse_volume_on_a_full_disk_is_told(agent: Agent) -> None:
    """The promise of its size cannot be kept: its writer gets an error, and others go on."""
    agent.cli("volume", "create", "-d", "image", "-o", "size=70m", "sparse")
    agent.cli("volume", "create", "beside")
    agent.cli("run", "-d", "--name", "box", "-v", "sparse:/d", "busybox", "sleep", "1000")
    room = free_mib(agent)
    agent.cli(*RUN, "-v", "beside:/d", "busybox", "sh", "-c",
              f"dd if=/dev/zero of=/d/file bs=1M count={room - 8} 2>/dev/null")  # fmt: skip
    done = agent.cli(
        "exec", "box", "sh", "-c", "dd if=/dev/urandom of=/d/file bs=1M count=40 && sync /d/file",
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert agent.say("system", "ping") == "OK"
    agent.cli("rm", "-f", "box")
    agent.cli("volume", "rm", "--now", "sparse")
    agent.cli("volume", "rm", "--now", "beside")
    assert names(agent) == []


def test_a_backing_file_that_goes_away(agent: Agent) -> None:
    agent.cli("volume", "create", "-d", "image", "-o", "size=16m", "db")
    agent.cli("run", "-d", "--name", "box", "-v", "db:/d", "busybox", "sleep", "1000")
    (agent.root / "volumes/db/disk.img").unlink()
    agent.cli("exec", "box", "sh", "-c", "echo still > /d/file")  # the mount holds it
    view = agent.inspect("volume", "db")
    assert (view["Health"], "not there" in view["HealthReason"]) == ("unhealthy", True)
    agent.cli("rm", "-f", "box")
    done = agent.cli(*RUN, "-v", "db:/d", "busybox", "true", check=False)
    assert "the volume's image is not there" in done.stderr
    agent.cli("volume", "rm", "--now", "db")
    loops = [
        each for each in Path("/sys/block").glob("loop*/loop/backing_file")
        if str(agent.root) in os.fsdecode(each.read_bytes())
    ]  # fmt: skip
    assert not [each for each in loops if "disk.img" in each.read_text("utf-8")]
