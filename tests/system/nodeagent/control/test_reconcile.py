"""The repair loop, without anybody asking: what was broken is mended at once, not at the timer."""

import time
from collections.abc import Callable

import pytest

from nodeagent.control.reconcile import PERIOD_S
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

SERVE = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")

DAMAGE: dict[str, Callable[[str, str], list[str]]] = {
    "ruleset flushed": lambda bridge, veth: ["nft", "flush", "ruleset"],
    "bridge deleted": lambda bridge, veth: ["ip", "link", "delete", bridge],
    "bridge down": lambda bridge, veth: ["ip", "link", "set", bridge, "down"],
    "veth deleted": lambda bridge, veth: ["ip", "link", "delete", veth],
    "veth off the bridge": lambda bridge, veth: ["ip", "link", "set", veth, "nomaster"],
    "gateway gone": lambda bridge, veth: ["ip", "address", "flush", "dev", bridge],
}


@pytest.fixture(scope="module")
def served(shared_agent: Agent) -> Agent:
    shared_agent.cli("network", "create", "demo")
    options = ("--name", "web", "--network", "demo", "-p", "127.0.0.1:8080:80")
    shared_agent.cli("run", "-d", *options, *SERVE)
    return shared_agent


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_mended_with_an_event_and_a_count(served: Agent, what: str) -> None:
    bridge = f"br-{served.inspect('network', 'demo')['Id'][:12]}"
    links = served.space.run("ip", "-o", "link", "show", "master", bridge).stdout
    veth = links.split()[1].partition("@")[0]
    before = repairs(served)
    with (
        open_sync_client(served.host) as client,
        client.stream("system.events", {"filters": {"event": ["repair"]}}) as events,
    ):
        client.call("system.ping")  # the stream stands once a later call is answered
        began = time.monotonic()
        served.space.run(*DAMAGE[what](bridge, veth))
        next(iter(events))
        took_s = time.monotonic() - began
    assert served.space.fetch("http://127.0.0.1:8080/") == "hello\n"
    assert repairs(served) > before
    assert took_s < PERIOD_S / 2, "the timer mended it, not the kernel's notification"


def repairs(agent: Agent) -> float:
    """Kernel objects mended so far, as the metrics say."""
    lines = agent.space.fetch("http://127.0.0.1:9323/metrics").splitlines()
    rows = [line for line in lines if line.startswith("nodeagent_drift_repairs_total")]
    return sum(float(line.rpartition(" ")[2]) for line in rows)
