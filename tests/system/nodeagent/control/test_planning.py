"""Plans of changes: kernel and records stay as they are, and the change does what was said."""

import re

import pytest

from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture(scope="module")
def settled(shared_agent: Agent) -> Agent:
    shared_agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    shared_agent.cli("network", "create", "--subnet", "10.78.0.0/24", "empty")
    shared_agent.cli("run", "-d", "--name", "web", *SLEEP)
    return shared_agent


CHANGES = {
    "create": (("create", "--subnet", "10.79.0.0/24", "new"), ["type bridge", "10.79.0.1/24"]),
    "rm": (("rm", "empty"), ["- link br-", "type bridge"]),
    "connect": (("connect", "--ip", "10.77.0.9", "demo", "web"), ["type veth", "10.77.0.9/24"]),
    "disconnect": (("disconnect", "bridge", "web"), ["- link ve", "type veth"]),
    "run": (
        ("run", "--network", "demo", "-p", "127.0.0.1:8081:80", *SLEEP),
        ["+ netns", "127.0.0.1 . tcp . 8081", "127.0.0.11:PORT"],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_plan_says_what_would_be_and_changes_nothing(settled: Agent, what: str) -> None:
    argv, words = CHANGES[what]
    before = settled.snapshot()
    records = _records(settled)
    plan = settled.say("network", "plan", *argv)
    for word in words:
        assert word in plan
    assert settled.say("network", "plan") == "nothing to change"
    assert _records(settled) == records
    settled.expect(before)


def test_the_change_does_what_its_plan_said(agent: Agent) -> None:
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    agent.cli("run", "-d", "--name", "web", *SLEEP)
    connect = ("--ip", "10.77.0.9", "--mac-address", "02:00:00:00:00:09", "demo", "web")
    plan = agent.say("network", "plan", "connect", *connect).splitlines()
    agent.cli("network", "connect", *connect)
    # the opposite plan takes away just what came, but for what ends with the link
    back = agent.say("network", "plan", "disconnect", "demo", "web").splitlines()
    came = [line[2:] for line in plan if " type veth" in line]
    gone = [line[2:] for line in back if " type veth" in line]
    assert _without_ids(came) == _without_ids(gone) != []
    agent.cli("network", "disconnect", "demo", "web")
    assert agent.say("network", "plan") == "nothing to change"


def _records(agent: Agent) -> list[str]:
    return [row["ID"] for noun in ("network", "container") for row in agent.rows(noun)]


def _without_ids(lines: list[str]) -> list[str]:
    """Less the name made of an id, and the bridge, which is not looked at for a deletion."""
    return [re.sub(r"\bve[0-9a-f]{13}\b|master \S*", "", line) for line in lines]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("create", "demo"), "in use"),
        (("create", "--subnet", "10.77.0.0/16", "x"), "overlaps"),
        (("rm", "bridge"), "predefined"),
        (("rm", "nothing"), "no such network"),
        (("connect", "bridge", "web"), "already"),
        (("connect", "--ip", "10.79.0.1", "demo", "web"), "subnet"),
        (("disconnect", "demo", "web"), "not on"),
        (("run", "--network", "nothing", *SLEEP), "no such network"),
        (("run", "nothing"), "image"),
    ],
)
def test_a_plan_is_refused_for_the_reasons_that_refuse_the_change(
    settled: Agent, argv: tuple[str, ...], says: str
) -> None:
    before = settled.snapshot()
    done = settled.cli("network", "plan", *argv, check=False)
    assert done.returncode != 0
    assert says in done.stderr
    settled.expect(before)


def test_what_a_plan_held_is_free_again(settled: Agent) -> None:
    for _ in range(2):
        settled.cli("run", "--dry-run", "--name", "x", "-p", "127.0.0.1:8082:80", *SLEEP)
    settled.cli("run", "-d", "--rm", "--name", "x", "-p", "127.0.0.1:8082:80", *SLEEP)
    settled.cli("rm", "-f", "x")


def test_a_stopped_container_changes_nothing_in_the_kernel(settled: Agent) -> None:
    settled.cli("create", "--name", "idle", *SLEEP)
    assert settled.say("network", "plan", "connect", "demo", "idle") == "nothing to change"
    settled.cli("rm", "idle")
