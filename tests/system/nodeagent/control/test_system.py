"""The agent about itself."""

import json
import time

from tests.system.harness.agent import ANSWER_S, Agent


def test_info_counts_and_names_its_parts(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    info = json.loads(agent.say("system", "info", "--format", "json"))
    assert (info["Containers"], info["ContainersRunning"], info["Images"]) == (1, 1, 1)
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
