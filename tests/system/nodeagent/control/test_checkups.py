"""Health checks of real containers. Covers nodeagent/control/checkups.py"""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.harness.agent import Agent

WAIT_S = 30.0
FLAG = ("--health-cmd", "test -e /ok", "--health-interval", "200ms", "--health-retries", "2")
SLEEP = ("busybox", "sleep", "1000")


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.05)


def state(agent: Agent, name: str) -> Any:
    return agent.inspect("container", name)["State"]


def wait_status(agent: Agent, name: str, status: str) -> None:
    wait_for(lambda: state(agent, name)["Health"]["Status"] == status)


def become(agent: Agent, name: str, status: str) -> None:
    line = "touch /ok" if status == "healthy" else "rm -f /ok"
    agent.cli("exec", name, "sh", "-c", line)
    wait_status(agent, name, status)


def test_it_is_seen_everywhere(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *FLAG, *SLEEP)
    agent.cli("run", "-d", "--name", "plain", *SLEEP)
    agent.cli("run", "-d", "--name", "slow", "--health-cmd", "true", "--health-start-interval",
              "1h", "--health-start-period", "1h", *SLEEP)  # fmt: skip
    assert state(agent, "slow")["Health"] == {"Status": "starting", "FailingStreak": 0, "Log": []}
    (slow,) = agent.rows("container", "--filter", "health=starting", "--filter", "name=slow")
    assert slow["Status"].endswith(" (health: starting)")
    assert state(agent, "plain")["Health"] is None
    become(agent, "box", "healthy")
    (row,) = agent.rows("container", "--filter", "health=healthy")
    assert row["Names"] == "box"
    assert row["Status"].endswith(" (healthy)")
    assert [each["Names"] for each in agent.rows("container", "--filter", "health=none")] == [
        "plain"
    ]
    become(agent, "box", "unhealthy")
    health = state(agent, "box")["Health"]
    assert health["FailingStreak"] >= 2
    assert len(health["Log"]) == 5
    assert {"Start", "End", "ExitCode", "Output"} == set(health["Log"][-1])
    assert health["Log"][-1]["ExitCode"] == 1
    become(agent, "box", "healthy")
    said = agent.say("events", "--since", "5m", "--until", "0s", "--filter", "event=health_status",
                     "--format", "json")  # fmt: skip
    assert [json.loads(line)["action"] for line in said.splitlines()][-3:] == [
        f"health_status: {each}" for each in ("healthy", "unhealthy", "healthy")
    ]
    shown = agent.inspect("container", "box")
    assert shown["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "test -e /ok"], "Interval": 200_000_000, "Timeout": 30 * 10**9,
        "StartPeriod": 0, "StartInterval": 5 * 10**9, "Retries": 2,
    }  # fmt: skip


def resolve(agent: Agent, name: str) -> set[str]:
    done = agent.cli("exec", "client", "nslookup", f"{name}.", check=False)
    answer = done.stdout.partition("Name:")[2]
    return {line.split()[-1] for line in answer.splitlines() if line.startswith("Address")}


def address(agent: Agent, name: str) -> str:
    found = agent.inspect("container", name)["NetworkSettings"]["Networks"]["demo"]["IPAddress"]
    assert isinstance(found, str)
    return found


@pytest.fixture
def pair(agent: Agent) -> tuple[str, str]:
    """Addresses of two healthy containers with one alias, ``web``."""
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "client", "--network", "demo", *SLEEP)
    for name in ("one", "two"):
        agent.cli("run", "-d", "--name", name, "--network", "demo", "--network-alias", "web", *FLAG,
                  *SLEEP)  # fmt: skip
    assert resolve(agent, "web") == set(), "starting is not ready"
    for name in ("one", "two"):
        become(agent, name, "healthy")
    return address(agent, "one"), address(agent, "two")


def test_only_the_healthy_are_answered(agent: Agent, pair: tuple[str, str]) -> None:
    one, two = pair
    assert resolve(agent, "web") == {one, two}
    become(agent, "two", "unhealthy")
    assert resolve(agent, "web") == {one}
    assert resolve(agent, "all.web") == {one, two}
    become(agent, "two", "healthy")
    assert resolve(agent, "web") == {one, two}


@pytest.mark.parametrize("end", [Agent.kill, Agent.stop])
def test_a_restart_of_the_agent_takes_no_name_away(
    agent: Agent, pair: tuple[str, str], end: Callable[[Agent], None]
) -> None:
    one, two = pair
    become(agent, "two", "unhealthy")
    end(agent)
    agent.start()
    assert resolve(agent, "web") == {one}
    wait_status(agent, "one", "healthy")
    assert resolve(agent, "web") == {one}
    become(agent, "two", "healthy")
    assert resolve(agent, "web") == {one, two}


def test_after_a_restart_it_starts_again(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "--health-cmd", "test -e /ok", "--health-interval",
              "3s", *SLEEP)  # fmt: skip
    become(agent, "box", "healthy")
    agent.kill()
    agent.start()
    health = state(agent, "box")["Health"]
    assert (health["Status"], health["Log"]) == ("starting", []) or len(health["Log"]) == 1
    wait_status(agent, "box", "healthy")


def sleeps(agent: Agent, name: str) -> list[str]:
    return [line for line in agent.say("top", name).splitlines() if "sleep 77" in line]


def test_a_probe_over_its_time_is_killed_with_all_it_began(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "--health-cmd",
              "echo so far; sleep 771 & sleep 772 & wait", "--health-timeout", "1s",
              "--health-interval", "1s", "--health-retries", "1", *SLEEP)  # fmt: skip
    wait_status(agent, "box", "unhealthy")
    first = state(agent, "box")["Health"]["Log"][0]
    assert first["Output"] == "Health check exceeded timeout (1s): so far\n"
    assert first["ExitCode"] == -1
    wait_for(lambda: not sleeps(agent, "box"))


def test_a_stuck_probe_holds_up_neither_stop_nor_rm(agent: Agent) -> None:
    before = agent.snapshot()
    stuck = ("--health-cmd", "sleep 771", "--health-interval", "100ms")
    trap = "trap 'exit 7' TERM; while :; do sleep 0.05; done"
    agent.cli("run", "-d", "--name", "box", *stuck, "busybox", "sh", "-c", trap)
    wait_for(lambda: bool(sleeps(agent, "box")))
    begin = time.monotonic()
    agent.cli("stop", "box")
    assert state(agent, "box")["ExitCode"] == 7, "the program's own, after its own end"
    assert time.monotonic() - begin < 6.0
    agent.cli("start", "box")
    wait_for(lambda: bool(sleeps(agent, "box")))
    begin = time.monotonic()
    agent.cli("rm", "-f", "box")
    assert time.monotonic() - begin < 5.0
    agent.expect(before)


def test_a_killed_agent_leaves_no_probe(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "--health-cmd",
              "echo x >> /begun; test -e /ok || { sleep 771 & sleep 772 & wait; }",
              "--health-interval", "100ms", *SLEEP)  # fmt: skip
    wait_for(lambda: len(sleeps(agent, "box")) >= 2)
    agent.kill()
    assert agent.pid_of  # the agent is gone, the probe is not
    agent.start()
    begun = "0"

    def has_new_probe() -> bool:
        nonlocal begun
        begun = agent.say("exec", "box", "sh", "-c", "wc -l < /begun")
        return int(begun) >= 2

    wait_for(has_new_probe)
    assert len(sleeps(agent, "box")) in {0, 2, 3}, "those of one probe at most"
    agent.cli("exec", "box", "touch", "/ok")
    agent.kill()
    agent.start()
    wait_status(agent, "box", "healthy")
    assert sleeps(agent, "box") == []


def test_a_paused_container_is_not_probed(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *FLAG, *SLEEP)
    become(agent, "box", "healthy")
    agent.cli("pause", "box")
    before = state(agent, "box")["Health"]["Log"][-1]
    time.sleep(1.0)
    after = state(agent, "box")["Health"]
    assert after["Status"] == "healthy"
    assert after["Log"][-1]["Start"] in {before["Start"], after["Log"][-1]["Start"]}
    frozen = after["Log"]
    time.sleep(0.7)
    assert state(agent, "box")["Health"]["Log"] == frozen
    agent.cli("unpause", "box")
    wait_for(lambda: state(agent, "box")["Health"]["Log"] != frozen)
    assert state(agent, "box")["Health"]["Status"] == "healthy"


def starts(agent: Agent) -> int:
    said = agent.say("events", "--since", "5m", "--until", "0s", "--filter", "event=start",
                     "--format", "json")  # fmt: skip
    return len(said.splitlines())


def test_an_unhealthy_one_is_restarted_and_more_slowly_each_time(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "--health-cmd", "false", "--health-interval", "50ms",
              "--health-retries", "1", "--on-unhealthy", "restart", "--stop-timeout", "0",
              *SLEEP)  # fmt: skip
    wait_for(lambda: starts(agent) >= 4)
    begin, before = time.monotonic(), starts(agent)
    time.sleep(3.0)
    # the 4th restart waits 0.8 s, the next 1.6, 3.2: without it some ten a second
    assert starts(agent) - before <= 3, time.monotonic() - begin
    agent.cli("stop", "box")
    time.sleep(2.0)
    assert state(agent, "box")["Status"] == "exited"


def test_an_unhealthy_one_is_stopped_and_stays_so(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", "--restart", "always", "--on-unhealthy", "stop",
              "--stop-timeout", "0", *FLAG, *SLEEP)  # fmt: skip
    wait_for(lambda: state(agent, "box")["Status"] == "exited")
    time.sleep(0.5)
    assert state(agent, "box")["Status"] == "exited"


def test_an_unhealthy_one_is_killed_and_its_policy_decides(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "again", "--restart", "always", "--on-unhealthy", "kill",
              *FLAG, *SLEEP)  # fmt: skip
    agent.cli("run", "-d", "--name", "once", "--on-unhealthy", "kill", *FLAG, *SLEEP)
    wait_for(lambda: agent.inspect("container", "again")["RestartCount"] >= 1)
    wait_for(lambda: state(agent, "once")["Status"] == "exited")
    assert state(agent, "once")["ExitCode"] == 137


def test_an_image_may_have_one(agent: Agent, busybox_tar: Any) -> None:
    check = "HEALTHCHECK --interval=200ms --retries=2 CMD test -e /ok"
    agent.cli("image", "import", "--change", check, str(busybox_tar), "checked")
    shown = agent.inspect("image", "checked")["Config"]["Healthcheck"]
    assert (shown["Test"], shown["Interval"]) == (["CMD-SHELL", "test -e /ok"], 200_000_000)
    agent.cli("run", "-d", "--name", "box", "checked", "sleep", "1000")
    become(agent, "box", "healthy")
    agent.cli("run", "-d", "--name", "off", "--no-healthcheck", "checked", "sleep", "1000")
    assert state(agent, "off")["Health"] is None


def test_settings_without_a_check_are_refused(agent: Agent) -> None:
    done = agent.cli("run", "-d", "--on-unhealthy", "restart", *SLEEP, check=False)
    assert done.returncode == 125
    assert "health" in done.stderr
    assert agent.rows("container", "-a") == []


def test_the_metrics_tell(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(settings='[metrics]\nlisten = "127.0.0.1:9323"\n')
    agent.cli("run", "-d", "--name", "box", *FLAG, *SLEEP)
    become(agent, "box", "healthy")
    text = agent.space.fetch("http://127.0.0.1:9323/metrics")
    lines = [line for line in text.splitlines() if line.startswith("nodeagent_container_health{")]
    assert sorted(line[line.index("status=") :] for line in lines) == [
        'status="healthy"} 1', 'status="starting"} 0', 'status="unhealthy"} 0',
    ]  # fmt: skip
    (passed,) = [line for line in text.splitlines()
                 if line.startswith('nodeagent_health_probes_total{outcome="passed"}')]  # fmt: skip
    assert int(passed.split()[-1]) >= 1
