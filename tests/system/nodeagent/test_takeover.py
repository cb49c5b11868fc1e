"""One agent replaces another under traffic: nothing is lost, no port is free, nobody notices.

Covers nodeagent/takeover/lives.py.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.traffic import Traffic, open_traffic

COUNT = 20
PORT = 8080
ADDRESS = "127.0.0.1"
TAKEOVERS = 3
SERVE = ("busybox", "httpd", "-f", "-p", "80")
IDLE = ("busybox", "tail", "-f", "/dev/null")


@pytest.fixture
def busy(agent: Agent) -> Agent:
    """An agent with containers that find each other by name, one with published ports."""
    agent.cli("network", "create", "demo")
    ports = ("-p", f"{ADDRESS}:{PORT}:80", "-p", f"{ADDRESS}:{PORT}:80/udp")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", *ports, *SERVE)
    agent.cli("run", "-d", "--name", "asker", "--network", "demo", *IDLE)
    return agent


def netns_of(agent: Agent, container: str) -> Path:
    return Path(f"/proc/{agent.pid_of(container)}/ns/net")


@pytest.fixture
def open_all(busy: Agent) -> Iterator[Callable[[], dict[str, Traffic]]]:
    """Start every kind of client."""
    with ExitStack() as stack:

        def begin() -> dict[str, Traffic]:
            inside, host = netns_of(busy, "asker"), busy.space.path
            words = {
                "udp": (inside, "udp", "web"),
                "tcp": (inside, "tcp", "web.demo"),
                "http": (host, "http", ADDRESS, str(PORT)),
                "rpc": (host, "rpc", busy.host),
                "thief": (host, "thief", "tcp", ADDRESS, str(PORT)),
                "thief of udp": (host, "thief", "udp", ADDRESS, str(PORT)),
            }
            return {name: stack.enter_context(open_traffic(*each)) for name, each in words.items()}

        yield begin


def gaps_ms(agent: Agent) -> list[int]:
    return [int(text) for text in re.findall(r"took over gap_ms=(\d+)", agent.log.read_text())]


@pytest.mark.timeout(240)
def test_nothing_is_lost(busy: Agent, open_all: Callable[[], dict[str, Traffic]]) -> None:
    for number in range(COUNT - 2):
        busy.cli("run", "-d", "--name", f"c{number}", "--network", "demo", *IDLE)
    names = [row["Names"] for row in busy.rows("container")]
    before = {name: busy.pid_of(name) for name in names}
    traffic = open_all()
    for _ in range(TAKEOVERS):
        busy.replace()
        assert (busy.run_dir / "nodeagent.pid").read_text() == f"{busy.pid}\n"
    worst = {name: each.expect_no_failure(tries=100) for name, each in traffic.items()}
    print(f"gap in ms with {COUNT} containers: {gaps_ms(busy)}; worst try in ms: {worst}")
    assert len(before) == COUNT
    assert {name: busy.pid_of(name) for name in names} == before
    assert len(gaps_ms(busy)) == TAKEOVERS
    text = busy.space.fetch("http://127.0.0.1:9323/metrics")
    assert re.search(r"^nodeagent_takeover_gap_seconds \d+\.\d+", text, re.MULTILINE)
    events = busy.say("events", "--since", "10m", "--until", "0s")
    assert "takeover" in events
