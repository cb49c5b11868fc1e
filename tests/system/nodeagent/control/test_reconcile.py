"""The repair loop, without anybody asking."""

from nodeagent.control.reconcile import PERIOD_S
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent


def test_drift_is_found_and_mended_with_an_event_and_a_count(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    bridge = f"br-{agent.inspect('network', 'demo')['Id'][:12]}"
    with open_sync_client(agent.host) as client:
        params = {"filters": {"type": ["agent"]}, "until": ""}
        with client.stream("system.events", params) as events:
            agent.space.run("ip", "link", "delete", bridge)
            event = next(iter(events))  # the loop looks every 30 s, the test ends after 120
    assert event["action"] == "repair"
    assert PERIOD_S <= 30
    assert bridge in agent.space.run("ip", "-o", "link").stdout
    text = agent.space.fetch("http://127.0.0.1:9323/metrics")
    assert 'nodeagent_reconcile_repairs_total{kind="bridge"} 1' in text
