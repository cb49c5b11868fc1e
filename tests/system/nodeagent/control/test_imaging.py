"""Images as users see them: pull, load, tag, remove, and what goes wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.system.harness.agent import Agent
from tests.system.harness.images import build_tar
from tests.system.harness.registry import Registry


def test_pull_by_tag_and_digest_run_and_remove(registry: Registry, agent: Agent) -> None:
    layers = [Path("/bin/busybox").read_bytes()]
    tars = [build_tar({"bin/": b"", "bin/busybox": layers[0]}), build_tar({"note": b"second"})]
    digest = registry.push("demo/app:v1", tars, Cmd=["/bin/busybox", "cat", "/note"], Env=["A=b"])
    name = f"{registry.address}/demo/app"
    before = agent.snapshot()
    agent.cli("pull", f"{name}:v1")
    view = agent.inspect("image", f"{name}:v1")
    assert view["RepoDigests"] == [f"{name}@{digest}"]
    assert view["Config"]["Env"] == ["A=b"]
    assert agent.say("run", "--rm", f"{name}@{digest}") == "second"
    assert len(agent.rows("image", "--filter", f"reference={name}")) == 1
    agent.cli("tag", f"{name}:v1", "mine:1")
    agent.cli("rmi", f"{name}:v1")
    assert agent.say("run", "--rm", "mine:1") == "second"
    agent.cli("run", "--name", "user", "mine:1")
    done = agent.cli("rmi", "mine:1", check=False)
    assert done.returncode == 1
    assert "user" in done.stderr
    agent.cli("rm", "user")
    agent.cli("rmi", "mine:1")
    agent.expect(before)


def test_what_cannot_be_pulled_is_told_and_leaves_nothing(registry: Registry, agent: Agent) -> None:
    before = agent.snapshot()
    for ref, says in (
        (f"{registry.address}/no/such:x", "no such"),
        ("127.0.0.1:1/nobody/listens:x", "127.0.0.1:1"),
        ("Upper/Case", "Upper/Case"),
        ("name@sha256:12", "sha256:12"),
    ):
        done = agent.cli("pull", ref, check=False)
        assert done.returncode == 1, ref
        assert says in done.stderr, ref
    agent.expect(before)


def test_a_full_disk_is_told_and_leaves_nothing(
    registry: Registry, agent: Agent, make_small: Callable[[], Agent]
) -> None:
    registry.push("big:1", [build_tar({"big": os.urandom(40 << 20)})], Cmd=["/big"])
    small = make_small()
    before = small.snapshot()
    done = small.cli("pull", f"{registry.address}/big:1", check=False)
    assert done.returncode == 1
    assert "space" in done.stderr
    small.expect(before)
    small.cli("system", "ping")


def test_history_and_listing(agent: Agent) -> None:
    (row,) = agent.rows("image")
    assert (row["Repository"], row["Tag"]) == ("busybox", "latest")
    history = agent.say("history", "--format", "json", "busybox").splitlines()
    assert json.loads(history[0])["SizeBytes"] > 1 << 20
    assert agent.say("images", "-q") == row["ID"].removeprefix("sha256:")[:12]
