"""Volumes as objects of their own."""

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
