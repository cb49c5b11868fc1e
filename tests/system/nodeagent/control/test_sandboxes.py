"""Ports, namespaces and names of running containers."""

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent
from tests.system.harness.namespace import Namespace, join, open_namespace

SERVE = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")
UNCHANGED = "nothing to change"
SLEEP = ("busybox", "sleep", "1000")


def test_a_published_port_answers_where_it_should(agent: Agent, space: Namespace) -> None:
    near, _ = join(agent.space, space, prefix="10.99.0")
    agent.cli("run", "-d", "--name", "all", "-p", "0.0.0.0:8080:80", *SERVE)
    agent.cli("run", "-d", "--name", "own", "-p", "127.0.0.1:8081:80", *SERVE)
    agent.cli("run", "-d", "--name", "private", "-p", "8082:80", *SERVE)
    for url in ("127.0.0.1:8080", f"{near}:8080", "127.0.0.1:8081", "127.0.0.1:8082"):
        assert agent.space.fetch(f"http://{url}/") == "hello\n", url
    assert space.fetch(f"http://{near}:8080/") == "hello\n"
    assert space.fetch(f"http://{near}:8082/") == "hello\n", "private addresses are published"
    refused = space.run("curl", "-sS", "-m", "2", f"http://{near}:8081/", check=False)
    assert refused.returncode != 0


def test_a_neighbour_does_not_reach_what_is_not_published(agent: Agent, space: Namespace) -> None:
    near, _ = join(agent.space, space, prefix="10.99.0")
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "demo")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", *SERVE)
    address = agent.inspect("container", "web")["NetworkSettings"]["Networks"]["demo"]["IPAddress"]
    space.run("ip", "route", "add", "10.77.0.0/24", "via", near)
    refused = space.run("curl", "-sS", "-m", "2", f"http://{address}/", check=False)
    assert refused.returncode != 0
    assert agent.space.fetch(f"http://{address}/") == "hello\n"


def test_a_busy_port_is_named_and_nothing_is_left(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "one", "-p", "127.0.0.1:8080:80", *SERVE)
    agent.cli("create", "--name", "two", "-p", "127.0.0.1:8080:80", *SERVE)
    before = agent.snapshot()
    done = agent.cli("start", "two", check=False)
    assert done.returncode == 1
    assert "8080" in done.stderr
    assert agent.inspect("container", "two")["State"]["Status"] == "created"
    agent.expect(before)
    agent.cli("rm", "-f", "one")
    agent.cli("start", "two")
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"


def test_a_random_port_is_shown_and_kept_over_a_crash(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "web", "-p", "127.0.0.1::80", *SERVE)
    port = agent.say("port", "web", "80").rpartition(":")[2]
    assert int(port) > 1024
    agent.kill()
    assert agent.space.fetch(f"http://127.0.0.1:{port}/") == "hello\n", "served without an agent"
    agent.start()
    assert agent.space.fetch(f"http://127.0.0.1:{port}/") == "hello\n"
    done = agent.cli("run", "-d", "-p", f"127.0.0.1:{port}:80", *SERVE, check=False)
    assert done.returncode == 125


def test_names_are_answered_again_after_a_crash(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    for name in ("web", "client"):
        agent.cli("run", "-d", "--name", name, "--network", "demo", *SERVE)
    agent.kill()
    agent.start()
    assert agent.say("exec", "client", "wget", "-q", "-O", "-", "http://web/") == "hello"


def test_drift_is_shown_and_mended_where_it_is_asked_for(agent: Agent) -> None:
    for name, port in (("demo", 8080), ("other", 8081)):
        agent.cli("network", "create", name)
        ports = ("-p", f"127.0.0.1:{port}:80")
        agent.cli("run", "-d", "--name", name, "--network", name, *ports, *SERVE)
    assert agent.say("network", "check") == "all is as wanted"
    assert agent.say("network", "plan") == UNCHANGED
    bridges = [f"br-{agent.inspect('network', name)['Id'][:12]}" for name in ("demo", "other")]
    fight_over(agent, bridges[0])
    found = agent.cli("network", "check", "demo", check=False)
    assert (found.returncode, bridges[0] in found.stdout) == (1, True)
    assert agent.say("network", "check", "other") == "all is as wanted"
    assert bridges[0] in agent.say("network", "plan")
    assert bridges[0] in agent.say("network", "repair", "demo")
    assert agent.say("network", "check") == "all is as wanted"
    agent.space.run("nft", "flush", "ruleset")
    agent.cli("network", "repair")  # or the loop did, before
    assert agent.say("network", "check") == "all is as wanted"
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
    missing = agent.cli("network", "check", "nope", check=False)
    assert "no such network" in missing.stderr


def fight_over(agent: Agent, bridge: str) -> None:
    """Damage that stays for some seconds: the repair loop has given way."""
    with (
        open_sync_client(agent.host) as client,
        client.stream("system.events", {"filters": {"type": ["network"]}}) as events,
    ):
        client.call("system.ping")  # the stream stands once a later call is answered
        agent.space.run("ip", "link", "set", bridge, "mtu", "1400")
        for event in events:
            if event["action"] == "repair":
                agent.space.run("ip", "link", "set", bridge, "mtu", "1400")
            else:
                return


def test_what_is_not_ours_is_in_nobodys_way(agent: Agent) -> None:
    agent.space.run("ip", "link", "add", "mine0", "type", "bridge")
    agent.space.run("nft", "add", "table", "inet", "mine")
    before = agent.snapshot()
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", *SLEEP)
    agent.cli("network", "repair")
    agent.cli("rm", "-f", "web")
    agent.cli("network", "rm", "demo")
    agent.expect(before)


def test_two_agents_do_not_see_each_other(make_agent) -> None:  # type: ignore[no-untyped-def]
    with open_namespace() as left, open_namespace() as right:
        one, two = make_agent(left), make_agent(right)
        for agent in (one, two):
            agent.cli("run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", *SERVE)
        one.cli("rm", "-f", "web")
        assert two.space.fetch("http://127.0.0.1:8080/") == "hello\n"
        assert len(two.rows("container")) == 1
        assert one.rows("container", "-a") == []
