"""Published ports as a user meets them: conflicts, ranges, who can reach what."""

import json
import re
import resource
import socket
from collections import Counter

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.namespace import Namespace, join

SERVE = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")
SLEEP = ("busybox", "sleep", "1000")


def listed(agent: Agent, *args: str) -> list[dict[str, object]]:
    out = agent.cli("port", "ls", *args, "--format", "json").stdout
    return [json.loads(line) for line in out.splitlines()]


def counted(agent: Agent) -> dict[str, int]:
    metrics = agent.space.fetch("http://127.0.0.1:9323/metrics")
    found = re.findall(
        r'^nodeagent_published_ports\{protocol="(\w+)"\} (\d+)$', metrics, re.MULTILINE
    )
    return {protocol: int(count) for protocol, count in found}


def test_the_metric_agrees_with_the_list(agent: Agent) -> None:
    ports = ("127.0.0.1:8081:80", "0.0.0.0:8082-8084:82-84", "127.0.0.1:8085:85/udp")
    given = [word for port in ports for word in ("-p", port)]
    agent.cli("run", "-d", "--name", "one", *given, *SLEEP)
    agent.cli("run", "-d", "--name", "two", "-p", "127.0.0.1:8086:86/udp", *SLEEP)
    assert counted(agent) == {"tcp": 4, "udp": 2, "sctp": 0}
    for step in ((), ("stop", "-t", "0", "one"), ("start", "one"), ("rm", "-f", "two")):
        if step:
            agent.cli(*step)
        rows = Counter(str(row["Protocol"]) for row in listed(agent))
        assert counted(agent) == {"tcp": 0, "udp": 0, "sctp": 0, **rows}, step


def test_a_conflict_names_the_container_or_the_process(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "one", "-p", "0.0.0.0:8080:80", *SLEEP)
    done = agent.cli("run", "-d", "-p", "127.0.0.1:8080:80", *SLEEP, check=False)
    assert done.returncode == 125
    assert "container one" in done.stderr
    done = agent.cli("run", "-d", "-p", "127.0.0.1:9323:80", *SLEEP, check=False)
    assert f"pid {agent.pid}" in done.stderr, "the agent's own metrics"
    assert "nodeagent" in done.stderr
    agent.kill()
    agent.start()
    done = agent.cli("run", "-d", "-p", "127.0.0.1:8080:80", *SLEEP, check=False)
    assert "container one" in done.stderr, "held again after a kill"


def test_who_can_reach_what(agent: Agent, space: Namespace) -> None:
    join(agent.space, space, prefix="192.168.77")
    agent.cli("network", "create", "--internal", "inner")
    agent.cli("run", "-d", "--name", "own", "-p", "127.0.0.1:8081:80", *SLEEP)
    agent.cli("run", "-d", "--name", "near", "-p", "192.168.77.1:8082:80/udp", *SLEEP)
    agent.cli("run", "-d", "--name", "all", "-p", "0.0.0.0:8083:80", *SLEEP)
    agent.cli(
        "run", "-d", "--name", "shut", "--network", "inner", "-p", "127.0.0.1:8084:80", *SLEEP
    )
    reach = {str(row["Container"]): row["Reach"] for row in listed(agent)}
    assert reach == {
        "own": "this host only",
        "near": "neighbours on 192.168.77.0/24",
        "all": "anyone who can route here",
        "shut": "nobody: the container is on internal networks only",
    }
    assert all(row["Held"] for row in listed(agent))
    assert [row["HostPort"] for row in listed(agent, "--filter", "protocol=udp")] == [8082]
    assert [row["HostPort"] for row in listed(agent, "--filter", "container=all")] == [8083]
    done = agent.cli("port", "ls", "--filter", "x=y", check=False)
    assert "no such filter" in done.stderr
    agent.cli("stop", "-t", "0", "all")
    assert "all" not in {row["Container"] for row in listed(agent)}


def test_a_routed_network_publishes_at_the_containers_own_address(agent: Agent) -> None:
    mode = "com.docker.network.bridge.gateway_mode_ipv4=routed"
    agent.cli("network", "create", "--subnet", "10.77.0.0/24", "-o", mode, "open")
    agent.cli("run", "-d", "--name", "web", "--network", "open", "-p", "80", *SERVE)
    (row,) = listed(agent)
    assert (row["HostIP"], row["HostPort"], row["Held"]) == ("10.77.0.2", 80, False)
    assert row["Reach"] == "who has a route to 10.77.0.2, the container's own"
    assert "10.77.0.2:80->80/tcp" in agent.cli("ps").stdout
    assert agent.cli("port", "web", "80").stdout == "10.77.0.2:80\n"
    assert "10.77.0.2:80->80/tcp" in agent.cli("network", "inspect", "open").stdout


def test_ranges_and_one_port_of_a_range(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "many", "-p", "127.0.0.1:8000-8002:80-82", *SLEEP)
    assert agent.say("port", "many").splitlines() == [
        "80/tcp -> 127.0.0.1:8000",
        "81/tcp -> 127.0.0.1:8001",
        "82/tcp -> 127.0.0.1:8002",
    ]
    for name, port in (("first", 8003), ("second", 8004)):
        agent.cli("run", "-d", "--name", name, "-p", "127.0.0.1:8000-8004:80", *SERVE)
        assert agent.say("port", name, "80") == f"127.0.0.1:{port}"
    done = agent.cli("run", "-d", "-p", "127.0.0.1:8000-8004:80", *SLEEP, check=False)
    assert "no port of the range is free" in done.stderr
    (row,) = [row for row in agent.rows("container") if row["Names"] == "many"]
    assert row["Ports"] == "127.0.0.1:8000-8002->80-82/tcp"
    bindings = agent.inspect("container", "first")["HostConfig"]["PortBindings"]
    assert bindings == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8004"}]}


def test_exposed_ranges_are_all_published_at_random_ports(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "web", "-P", "--expose", "80-82", "--expose", "53/udp", *SLEEP)
    ports = agent.inspect("container", "web")["NetworkSettings"]["Ports"]
    assert set(ports) == {"80/tcp", "81/tcp", "82/tcp", "53/udp"}
    numbers = {binding["HostPort"] for bindings in ports.values() for binding in bindings}
    assert len(numbers) == 4


def test_the_same_container_port_on_several_addresses(agent: Agent) -> None:
    words = ("-p", "127.0.0.1:8080:80", "-p", "127.0.0.2:8080:80", "-p", "127.0.0.1:8081:80")
    agent.cli("run", "-d", "--name", "web", *words, "-p", "0.0.0.0::80", *SERVE)
    port = agent.say("port", "web").splitlines()[-1].rpartition(":")[2]
    for url in ("127.0.0.1:8080", "127.0.0.2:8080", "127.0.0.1:8081", f"127.0.0.1:{port}"):
        assert agent.space.fetch(f"http://{url}/") == "hello\n", url


def test_a_port_is_free_at_once_though_connections_linger(agent: Agent) -> None:
    for name in ("one", "two"):
        agent.cli("run", "-d", "--name", name, "-p", "127.0.0.1:8080:80", *SERVE)
        assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
        agent.cli("rm", "-f", name)
        refused = agent.space.run("curl", "-sS", "-m", "2", "http://127.0.0.1:8080/", check=False)
        assert refused.returncode == 7, "connection refused"


def test_a_restart_keeps_asked_ports_and_chooses_others_anew(agent: Agent) -> None:
    agent.cli(
        "run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", "-p", "127.0.0.1::81", *SERVE
    )
    agent.cli("restart", "-t", "0", "web")
    assert agent.say("port", "web", "80") == "127.0.0.1:8080"
    assert agent.space.fetch("http://127.0.0.1:8080/") == "hello\n"
    chosen = agent.say("port", "web", "81")
    agent.stop()
    agent.start()
    assert agent.say("port", "web", "81") == chosen, "kept while the container runs"


def test_a_network_may_have_an_address_to_publish_on(agent: Agent) -> None:
    option = "com.docker.network.bridge.host_binding_ipv4=127.0.0.3"
    agent.cli("network", "create", "-o", option, "own")
    agent.cli("run", "-d", "--name", "web", "--network", "own", "-p", "8080:80", *SLEEP)
    assert agent.say("port", "web", "80") == "127.0.0.3:8080"


def has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
    except OSError:
        return False
    return True


def test_sctp_is_published_and_said_not_to_be_held_where_the_kernel_has_none(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "one", "-p", "127.0.0.1:8080:80/sctp", *SLEEP)
    (row,) = listed(agent)
    assert (row["Protocol"], row["Held"]) == ("sctp", has_sctp())
    done = agent.cli("run", "-d", "-p", "127.0.0.1:8080:80/sctp", *SLEEP, check=False)
    assert "container one" in done.stderr


@pytest.mark.parametrize("words", ["127.0.0.1:80-81:80-82", "[fe80::1]:80:80", "300.1.1.1:80:80"])
def test_what_cannot_be_published_is_told_and_nothing_is_left(agent: Agent, words: str) -> None:
    before = agent.snapshot()
    done = agent.cli("run", "--rm", "-p", words, *SLEEP, check=False)
    assert done.returncode == 125
    assert "publish" in done.stderr or "link-local" in done.stderr
    assert agent.rows("container", "-a") == []
    agent.expect(before)


def test_many_ports_and_the_end_of_the_descriptors(agent: Agent) -> None:
    """The agent has raised its limit; containers start with the one it was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    agent.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        agent.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(agent.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (3000, hard))
    before = agent.snapshot()
    done = agent.cli("run", "--rm", "-p", "127.0.0.1:5000-7999:5000-7999", *SLEEP, check=False)
    assert "no descriptor left" in done.stderr
    agent.expect(before)
    agent.cli("run", "-d", "--name", "many", "-p", "127.0.0.1:5000-6999:5000-6999", *SLEEP)
    shown = agent.say("exec", "many", "sh", "-c", "ulimit -n; ulimit -Hn").split()
    assert shown == ["1024", str(hard)]
    metrics = agent.space.fetch("http://127.0.0.1:9323/metrics")
    assert 'nodeagent_published_ports{protocol="tcp"} 2000' in metrics
    assert "nodeagent_published_ports_unheld 0" in metrics
    agent.cli("rm", "-f", "many")
    agent.expect(before)
