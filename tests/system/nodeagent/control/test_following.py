"""A private address that the host gets later has the ports, too, and loses them with it."""

import json
import time

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.namespace import Namespace, join

SERVE = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")
WITHIN_S = 10.0


def wait_for(agent: Agent, wanted: set[str], within_s: float = WITHIN_S) -> None:
    end = time.monotonic() + within_s
    while (have := set(agent.say("port", "web", "80").splitlines())) != wanted:
        assert time.monotonic() < end, f"{have} is not {wanted}\n{agent.log_tail()}"
        time.sleep(0.2)


@pytest.mark.parametrize("killed", [False, True])
def test_ports_follow_the_addresses_of_the_host(
    agent: Agent, space: Namespace, killed: bool
) -> None:
    agent.cli("run", "-d", "--name", "web", "-p", "80", *SERVE)
    own = agent.say("port", "web", "80")
    number = own.rpartition(":")[2]
    assert own == f"127.0.0.1:{number}"
    if killed:
        agent.kill()
    near, _ = join(agent.space, space, prefix="10.99.0")
    if killed:
        agent.start()
    wait_for(agent, {own, f"{near}:{number}"})
    assert space.fetch(f"http://{near}:{number}/") == "hello\n"
    done = agent.cli("run", "-d", "-p", f"{near}:{number}:80", *SERVE, check=False)
    assert "container web" in done.stderr, "it is held"
    events = agent.cli("events", "--since", "1h", "--until", "0s", "--format", "json").stdout
    told = [json.loads(line) for line in events.splitlines()]
    assert any(f"{near}:{number}" in json.dumps(each) for each in told)
    link = agent.space.run("ip", "-o", "-4", "address", "show", "to", near).stdout.split()[1]
    agent.space.run("ip", "address", "delete", f"{near}/24", "dev", link)
    wait_for(agent, {own})
    assert f"{near}" not in agent.space.run("nft", "list", "ruleset").stdout
    assert agent.space.fetch(f"http://{own}/") == "hello\n"
