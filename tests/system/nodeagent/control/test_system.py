"""The agent about itself."""

import json

from tests.system.harness.agent import Agent


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
