"""Network modes: the host's network, none, and another container's."""

import pytest

from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")
SERVE = ("busybox", "httpd", "-f", "-p", "8099", "-h", "/etc")


def netns(agent: Agent, name: str) -> str:
    return agent.say("exec", name, "readlink", "/proc/self/ns/net")


def test_host_none_and_default(agent: Agent) -> None:
    host = agent.space.run("readlink", "/proc/self/ns/net").stdout.strip()
    for name, mode in (("h", "host"), ("n", "none"), ("b", "bridge")):
        agent.cli("run", "-d", "--name", name, "--network", mode, *SLEEP)
    assert netns(agent, "h") == host != netns(agent, "n")
    assert "eth0" not in agent.say("exec", "n", "ip", "link")
    assert "eth0" in agent.say("exec", "b", "ip", "link")
    assert "lo" in agent.say("exec", "n", "ip", "link")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--network", "host", "-p", "80:80"), "ports"),
        (("--network", "none", "-p", "80:80"), "ports"),
        (("--network", "bridge", "--network", "host"), "--network host"),
        (("--network", "host", "--network", "demo"), "networks"),
        (("--network", "container:owner", "-p", "80:80"), "ports"),
        (("--network", "container:owner", "-P"), "ports"),
        (("--network", "container:owner", "--expose", "80"), "expose"),
        (("--network", "container:owner", "--dns", "9.9.9.9"), "dns"),
        (("--network", "container:owner", "--dns-search", "x.test"), "dns_search"),
        (("--network", "container:owner", "--add-host", "a:10.0.0.1"), "extra_hosts"),
        (("--network", "container:owner", "--hostname", "x"), "hostname"),
        (("--network", "container:nobody"), "no such container"),
        (("--network", "bridge", "--ip", "172.17.0.9"), "user-defined"),
    ],
)
def test_what_a_mode_excludes(agent: Agent, args: tuple[str, ...], says: str) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "owner", *SLEEP)
    done = agent.cli("run", "-d", *args, *SLEEP, check=False)
    assert done.returncode == 125
    assert says in done.stderr
    assert len(agent.rows("container", "-a")) == 1


def test_nobody_connects_to_the_hosts_network_or_to_none(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "b", *SLEEP)
    agent.cli("run", "-d", "--name", "h", "--network", "host", *SLEEP)
    for args, says in (
        (("connect", "host", "b"), "--network host"),
        (("connect", "none", "b"), "--network none"),
        (("connect", "bridge", "h"), "joins no network"),
        (("disconnect", "host", "h"), "keeps it"),
    ):
        done = agent.cli("network", *args, check=False)
        assert done.returncode == 1
        assert says in done.stderr
    assert agent.inspect("network", "host")["Driver"] == "host"
    assert agent.inspect("network", "none")["Driver"] == "null"


def test_a_shared_network_and_its_end(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "owner", *SERVE)
    share = ("--network", "container:owner")
    agent.cli("run", "-d", "--name", "guest", *share, *SLEEP)
    assert netns(agent, "guest") == netns(agent, "owner")
    fetch = ("exec", "guest", "wget", "-q", "-O", "-", "http://127.0.0.1:8099/passwd")
    assert "root" in agent.say(*fetch)
    agent.kill()
    agent.start()
    assert "root" in agent.say(*fetch)
    first = netns(agent, "guest")
    agent.cli("restart", "-t", "0", "owner")
    assert netns(agent, "guest") == first != netns(agent, "owner")
    lost = ("events", "--since", "5m", "--until", "0s", "--filter", "event=network-lost")
    assert agent.say(*lost).count("guest") == 1
    agent.cli("restart", "-t", "0", "guest")
    assert netns(agent, "guest") == netns(agent, "owner")
    agent.cli("rm", "-f", "owner")
    assert agent.inspect("container", "guest")["State"]["Running"]
    done = agent.cli("restart", "-t", "0", "guest", check=False)
    assert "is gone" in done.stderr
    agent.cli("rm", "-f", "guest")
