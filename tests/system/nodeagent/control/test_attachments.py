"""Attach and detach a running container."""

from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


def links(agent: Agent, name: str) -> list[str]:
    return sorted(agent.say("exec", name, "ls", "/sys/class/net").split())


def test_interfaces_come_and_go_with_their_networks(agent: Agent) -> None:
    for network in ("one", "two"):
        agent.cli("network", "create", network)
    agent.cli("run", "-d", "--name", "box", "--network", "one", *SLEEP)
    before = agent.snapshot()
    agent.cli("network", "connect", "two", "box")
    assert links(agent, "box") == ["eth0", "eth1", "lo"]
    assert set(agent.inspect("container", "box")["NetworkSettings"]["Networks"]) == {"one", "two"}
    agent.cli("network", "disconnect", "two", "box")
    assert links(agent, "box") == ["eth0", "lo"]
    agent.expect(before)


def test_the_default_route_moves_when_its_network_leaves(agent: Agent) -> None:
    for network in ("one", "two"):
        agent.cli("network", "create", network)
    agent.cli("run", "-d", "--name", "box", "--network", "one", *SLEEP)
    agent.cli("network", "connect", "two", "box")
    agent.cli("network", "disconnect", "one", "box")
    gateway = agent.inspect("network", "two")["IPAM"]["Config"][0]["Gateway"]
    assert f"default via {gateway}" in agent.say("exec", "box", "ip", "route")


def test_what_cannot_be_is_refused_and_changes_nothing(agent: Agent) -> None:
    agent.cli("network", "create", "one")
    agent.cli("run", "-d", "--name", "box", "--network", "one", *SLEEP)
    agent.cli("run", "-d", "--name", "hosted", "--network", "host", *SLEEP)
    before = agent.snapshot()
    for args, says in (
        (("connect", "one", "box"), "already"),
        (("connect", "nowhere", "box"), "no such network"),
        (("connect", "one", "hosted"), "network mode"),
        (("disconnect", "bridge", "box"), "not on this network"),
    ):
        done = agent.cli("network", *args, check=False)
        assert done.returncode == 1
        assert says in done.stderr
    agent.expect(before)


def test_a_stopped_container_is_attached_at_its_next_start(agent: Agent) -> None:
    agent.cli("network", "create", "one")
    agent.cli("create", "--name", "box", *SLEEP)
    agent.cli("network", "connect", "one", "box")
    agent.cli("start", "box")
    assert links(agent, "box") == ["eth0", "eth1", "lo"]
