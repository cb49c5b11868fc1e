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


def default_routes(agent: Agent, name: str) -> dict[int, str]:
    """Interface of the default route, by family."""
    found = {}
    for version, flag in ((4, "-4"), (6, "-6")):
        for line in agent.say("exec", name, "ip", flag, "route").splitlines():
            words = line.split()
            if words[0] == "default":
                assert version not in found, line
                found[version] = words[words.index("dev") + 1]
    return found


def test_the_highest_priority_has_the_routes_and_the_ports_follow(agent: Agent) -> None:
    agent.cli("network", "create", "--ipv6", "one")
    agent.cli("network", "create", "four")
    agent.cli("network", "create", "--ipv6", "both")
    publish = ("-p", "127.0.0.1:8080:80")
    serve = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")
    agent.cli("run", "-d", "--name", "web", "--network", "one", *publish, *serve)
    assert default_routes(agent, "web") == {4: "eth0", 6: "eth0"}

    agent.cli("network", "connect", "four", "web")
    assert default_routes(agent, "web") == {4: "eth0", 6: "eth0"}, "the same priority: no change"
    agent.cli("network", "disconnect", "four", "web")

    agent.cli("network", "connect", "--gw-priority", "5", "four", "web")
    assert default_routes(agent, "web") == {4: "eth1", 6: "eth0"}, "it has no IPv6 to give"
    shown = agent.inspect("container", "web")["NetworkSettings"]["Networks"]
    assert {name: each["GwPriority"] for name, each in shown.items()} == {"four": 5, "one": 0}
    address = shown["four"]["IPAddress"]
    assert f": {address} . 80" in _translated(agent)
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"

    agent.cli("network", "connect", "--gw-priority", "100", "both", "web")
    assert default_routes(agent, "web") == {4: "eth2", 6: "eth2"}
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
    assert agent.say("network", "plan") == "nothing to change"

    agent.cli("network", "disconnect", "both", "web")
    agent.cli("network", "disconnect", "four", "web")
    assert default_routes(agent, "web") == {4: "eth0", 6: "eth0"}
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
    assert agent.say("port", "web") == "80/tcp -> 127.0.0.1:8080"


def _translated(agent: Agent) -> str:
    tables = agent.space.run("nft", "list", "ruleset").stdout
    return tables[tables.index("map publish4") : tables.index("map publish4any")]


def test_the_gateway_leaves_and_nobody_can_serve(agent: Agent) -> None:
    agent.cli("network", "create", "--internal", "inner")
    agent.cli("network", "create", "out")
    serve = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")
    networks = ("--network", "name=inner,gw-priority=50", "--network", "out")
    agent.cli("run", "-d", "--name", "web", *networks, "-p", "127.0.0.1:8080:80", *serve)
    assert default_routes(agent, "web") == {4: "eth1"}, "an internal network has no route to give"
    agent.cli("network", "disconnect", "out", "web")
    assert default_routes(agent, "web") == {}
    refused = agent.space.run("curl", "-sS", "-m", "2", "http://127.0.0.1:8080/", check=False)
    assert refused.returncode != 0
    agent.cli("network", "connect", "out", "web")
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
    agent.cli("restart", "-t", "0", "web")
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
