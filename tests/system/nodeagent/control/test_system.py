"""The agent about itself."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import ANSWER_S, Agent


def test_info_counts_and_names_its_parts(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    info = json.loads(agent.say("system", "info", "--format", "json"))
    assert (info["Containers"], info["ContainersRunning"], info["Images"]) == (1, 1, 1)
    agent.cli("pause", "box")
    info = json.loads(agent.say("system", "info", "--format", "json"))
    assert (info["ContainersRunning"], info["ContainersPaused"]) == (0, 1)
    figures = agent.space.fetch("http://127.0.0.1:9323/metrics")
    assert 'nodeagent_containers{state="paused"} 1' in figures
    agent.cli("unpause", "box")
    assert info["Runtime"] in {"crun", "runc"}
    assert info["DockerRootDir"] == str(agent.root)


def test_disk_use_follows_what_is_written(agent: Agent) -> None:
    def sizes() -> dict[str, int]:
        lines = agent.say("system", "df", "--format", "json").splitlines()
        return {row["Type"]: row["Size"] for row in map(json.loads, lines)}

    before = sizes()
    fill = "dd if=/dev/zero of=/big bs=1M count=3; dd if=/dev/zero of=/data/big bs=1M count=2; sync"
    agent.cli("run", "--name", "box", "-v", "data:/data", "busybox", "sh", "-c", fill)
    after = sizes()
    assert after["Images"] == before["Images"] > 1 << 20
    assert after["Containers"] >= 3 << 20
    assert after["Local Volumes"] >= 2 << 20


def test_events_tell_a_life_in_order(agent: Agent) -> None:
    agent.cli("run", "--rm", "--name", "box", "busybox", "true")
    lines = agent.say(
        "events", "--since", "1m", "--until", "0s", "--format", "json",
        "--filter", "container=box",
    ).splitlines()  # fmt: skip
    actions = [json.loads(line)["action"] for line in lines]
    assert actions == ["create", "start", "die", "destroy"]


def test_events_outlive_a_stop_and_a_kill_of_the_agent(agent: Agent) -> None:
    def actions() -> list[str]:
        lines = agent.say(
            "events", "--since", "1h", "--until", "0s", "--format", "json",
            "--filter", "container=box",
        ).splitlines()  # fmt: skip
        return [json.loads(line)["action"] for line in lines]

    agent.cli("create", "--name", "box", "busybox", "true")
    agent.stop()
    agent.start()
    assert actions() == ["create"]
    agent.cli("rename", "box", "other")
    agent.cli("rename", "other", "box")
    kept = agent.root / "events/now.ndjson"
    deadline = time.monotonic() + ANSWER_S
    while kept.read_text().count("rename") < 2:
        assert time.monotonic() < deadline, kept.read_text()
        time.sleep(0.01)
    agent.kill()
    with kept.open("a") as file:
        file.write('{"time_ns": 1, "type"')  # as if the kill had come within a write
    agent.start()
    agent.cli("rm", "box")
    found = agent.say("events", "--since", "1h", "--until", "0s", "--filter", "type=container")
    assert [line.split()[2] for line in found.splitlines()] == [
        "create", "rename", "rename", "destroy",
    ]  # fmt: skip


def audited(agent: Agent, *flags: str) -> list[tuple[str, str, str]]:
    lines = agent.say("system", "audit", "--format", "json", *flags).splitlines()
    return [(row["method"], row["target"], row["outcome"]) for row in map(json.loads, lines)]


def kept(agent: Agent) -> str:
    return "".join(path.read_text() for path in (agent.root / "audit").glob("*"))


def wait_kept(agent: Agent, text: str) -> None:
    deadline = time.monotonic() + ANSWER_S
    while text not in kept(agent):
        assert time.monotonic() < deadline, kept(agent)
        time.sleep(0.01)


def test_who_changed_what_outlives_a_kill_and_holds_no_secret(agent: Agent) -> None:
    began = len(audited(agent))
    agent.cli("create", "--name", "box", "-e", "PASSWORD=hush", "busybox", "true")
    agent.cli("network", "create", "quiet")
    agent.cli("network", "rm", "quiet")
    agent.cli("network", "rm", "quiet", check=False)
    agent.cli("ps")
    wanted = [
        ("container.create", "box", "ok"),
        ("network.create", "quiet", "ok"),
        ("network.rm", "quiet", "ok"),
        ("network.rm", "quiet", "missing"),
    ]
    assert audited(agent)[began:] == wanted
    agent.kill()
    agent.start()
    assert audited(agent)[began:] == wanted
    assert audited(agent, "--method", "network.rm", "--since", "10m") == wanted[2:]
    (line,) = agent.say("system", "audit", "--method", "container.create").splitlines()
    assert f"uid:{os.getuid()} (admin) container.create box: ok" in line
    assert "hush" not in kept(agent)
    assert audited(agent, "--who", "client-nobody") == []


def is_failing(agent: Agent) -> bool:
    return "the audit log cannot be written" in agent.log_tail()


def fill_up(fill: Path) -> None:
    with fill.open("ab") as file:
        size = 1 << 20
        while size:
            try:
                os.write(file.fileno(), bytes(size))
            except OSError:
                size //= 2
        with suppress(OSError):
            os.fsync(file.fileno())


def test_a_full_disk_stops_no_call_and_loses_no_entry(make_small: Callable[[], Agent]) -> None:
    small = make_small()
    small.cli("network", "create", "first")
    wait_kept(small, "first")
    fill, asked = small.root / "fill", 0
    with open_sync_client(small.host) as client:
        while not is_failing(small):  # the last block of the file has room for some
            fill_up(fill)
            with pytest.raises(RpcError, match="no such network"):
                client.call("network.rm", {"name": "x" * 200})
            asked += 1
            assert asked < 1000
        assert kept(small).count("network.rm") < asked
    small.cli("network", "rm", "first")
    assert len(audited(small, "--method", "network.rm")) == asked + 1
    fill.unlink()
    deadline = time.monotonic() + ANSWER_S
    while kept(small).count("network.rm") < asked + 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
