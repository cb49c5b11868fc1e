"""Names as containers ask for them, on a real agent."""

import os
import signal
import time
from collections.abc import Callable

import pytest
from dnslib import RCODE

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent
from tests.system.harness.names import OURS, open_asker, open_relay, open_server
from tests.system.harness.namespace import run

SLEEP = ("busybox", "sleep", "1000")
NOTHING = ["<SERVFAIL>"]
SOON_S = 1.0  # the aim is 0.05; machines under tests may be slow


@pytest.fixture
def agent(make_agent: Callable[..., Agent]) -> Agent:
    """It has no upstream: nothing but what it knows itself is answered."""
    return make_agent(settings='[network]\ndns_upstreams = ["192.0.2.53"]\n')


def start(agent: Agent, name: str, *flags: str, network: str = "demo") -> str:
    """A container that sleeps; its address."""
    agent.cli("run", "-d", "--name", name, "--network", network, *flags, *SLEEP)
    return address_of(agent, name, network)


def address_of(agent: Agent, name: str, network: str = "demo") -> str:
    view = agent.inspect("container", name)["NetworkSettings"]["Networks"][network]
    return str(view["IPAddress"])


def inside(agent: Agent, name: str) -> list[str]:
    return ["nsenter", "-t", str(agent.pid_of(name)), "-n"]


# --- what is answered -------------------------------------------------------------------------


def test_every_name_of_a_container_and_its_reverse(agent: Agent) -> None:
    network = "demo" * 26 + ".net"  # over 100 characters, as Docker allows
    agent.cli("network", "create", "--internal", "--ipv6", network)
    flags = ("--network-alias", "www", "--network-alias", "1a", "--hostname", "box")
    address = start(agent, "web.site", *flags, network=network)
    start(agent, "client", network=network)
    id_ = agent.inspect("container", "web.site")["Id"]
    six = agent.inspect("container", "web.site")["NetworkSettings"]["Networks"][network]
    with open_asker(agent, "client") as asker:
        for name in ("web.site", "WEB.Site", "www", "1a", "box", id_[:12]):
            assert asker.find(name) == [address], name
            assert asker.find(name, "AAAA") == [six["GlobalIPv6Address"]], name
            assert asker.find(f"all.{name}") == [address], name
        assert asker.find("web.site", "MX") == []
        assert asker.find("web.site.example") == NOTHING
        reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        assert asker.find(reverse, "PTR") == ["web.site."], "the network's name is no DNS name"
        assert str(asker.ask("wEb.sITe").q.qname) == "wEb.sITe."
    agent.cli("exec", "web.site", "sh", "-c", "echo > /etc/hosts")
    assert address in agent.say("exec", "web.site", "nslookup", "box", "127.0.0.11")


def test_a_name_under_its_network_and_the_pointer_to_it(agent: Agent) -> None:
    for network in ("demo", "other"):
        agent.cli("network", "create", "--internal", network)
    one, two = start(agent, "c1.net1"), start(agent, "web", network="other")
    start(agent, "client")
    with open_asker(agent, "client") as asker:
        assert asker.find("c1.net1.demo") == [one]
        assert asker.find("web") == asker.find("web.other") == NOTHING
        agent.cli("network", "connect", "other", "client")
        assert asker.find("web") == asker.find("web.other") == [two]
        reverse = ".".join(reversed(two.split("."))) + ".in-addr.arpa"
        assert asker.find(reverse, "PTR") == ["web.other."]


def test_ports_are_found_by_name(agent: Agent) -> None:
    agent.cli("network", "create", "--internal", "demo")
    address = start(agent, "web", "--expose", "80", "--label", "nodeagent.port.admin=8000/tcp")
    start(agent, "client")
    with open_asker(agent, "client") as asker:
        for service, number in (("_http._tcp", 80), ("_80._tcp", 80), ("_admin._tcp", 8000)):
            reply = asker.ask(f"{service}.web", "SRV")
            assert [str(each.rdata) for each in reply.rr] == [f"0 0 {number} web.demo."]
            assert [str(each.rdata) for each in reply.ar] == [address]
        assert asker.find("_ftp._tcp.web", "SRV") == ["<NXDOMAIN>"]
        assert asker.find("_http._tcp.web", "A") == []


def test_who_is_not_ready_is_found_by_all_only(agent: Agent) -> None:
    agent.cli("network", "create", "--internal", "demo")
    start(agent, "client")
    check = ("--health-cmd", "test -e /ok", "--health-interval", "200ms")
    address = start(agent, "web", *check, "--expose", "80")
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    with open_asker(agent, "client") as asker:
        for name, qtype in (("web", "A"), ("web.demo", "AAAA"), ("_80._tcp.web", "SRV")):
            reply = asker.ask(name, qtype, edns=True)
            assert reply.header.rcode == RCODE.SERVFAIL
            [reason] = reply.ar[0].rdata
            assert (reason.code, reason.data) == (15, b"\0\x0e"), "Not Ready"
        assert asker.find("web") == NOTHING
        assert asker.find("all.web") == asker.find("all.web.demo") == [address]
        assert asker.find(reverse, "PTR") == ["web.demo."]
        agent.cli("exec", "web", "touch", "/ok")
        until = time.monotonic() + 20
        while asker.find("web") != [address]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert [str(each.rdata) for each in asker.ask("_80._tcp.web", "SRV").rr] == [
            "0 0 80 web.demo."
        ]


# --- when it changes --------------------------------------------------------------------------


def test_the_first_question_after_a_change_sees_it(agent: Agent) -> None:
    for network in ("demo", "other"):
        agent.cli("network", "create", "--internal", network)
    start(agent, "client")
    agent.cli("network", "connect", "other", "client")
    address = start(agent, "web")
    with open_asker(agent, "client") as asker, open_sync_client(agent.host) as client:
        client.call("container.rename", {"name": "web", "new_name": "shop"})
        assert (asker.find("shop"), asker.find("web")) == ([address], NOTHING)
        joining = {"network": "other", "container": "shop", "endpoint": {"aliases": ["till"]}}
        client.call("network.connect", joining)
        other = address_of(agent, "shop", "other")
        assert asker.find("till") == [other]
        assert asker.find("shop") == sorted([address, other])
        client.call("network.disconnect", {"network": "other", "container": "shop"})
        assert (asker.find("till"), asker.find("shop")) == (NOTHING, [address])
        client.call("container.stop", {"name": "shop", "timeout_s": 0})
        assert asker.find("shop") == NOTHING
        client.call("container.start", {"name": "shop"})
        assert asker.find("shop") == [address_of(agent, "shop")]
        client.call("container.rm", {"name": "shop", "force": True})
        assert asker.find("shop") == NOTHING


def test_who_dies_is_answered_no_longer(agent: Agent) -> None:
    agent.cli("network", "create", "--internal", "demo")
    start(agent, "client")
    took = []
    for n in range(5):
        start(agent, f"web{n}")
        pid = agent.pid_of(f"web{n}")
        with open_asker(agent, "client") as asker:
            assert asker.find(f"web{n}") != NOTHING
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            while asker.find(f"web{n}") != NOTHING:
                assert time.monotonic() < killed + SOON_S
            took.append(time.monotonic() - killed)
    print("from the death to its answer, ms:", *(round(each * 1e3) for each in took))


# --- where else it is asked -------------------------------------------------------------------


def test_a_container_with_a_name_server_of_its_own(agent: Agent) -> None:
    """On 0.0.0.0:53: it answers its neighbour, and both still ask us at 127.0.0.11."""
    agent.cli("network", "create", "--internal", "demo")
    address, other = start(agent, "resolver"), start(agent, "client")
    with open_server(inside(agent, "resolver"), "0.0.0.0", "192.0.2.99"):
        with open_asker(agent, "client", server=address) as asker:
            assert asker.find("client") == ["192.0.2.99"]
        with open_asker(agent, "resolver", server="127.0.0.1") as asker:
            assert asker.find("client") == ["192.0.2.99"]
        for name in ("client", "resolver"):
            with open_asker(agent, name) as asker:
                assert (asker.find("resolver"), asker.find("client")) == ([address], [other])
        # and once more, by who has it for a server: asked inside, without a way out
        start(agent, "user", "--dns", address)
        with open_asker(agent, "user") as asker:
            assert asker.find("example.com") == ["192.0.2.99"]
            assert asker.find("client") == [other]


def test_without_a_way_out_no_question_leaves(agent: Agent) -> None:
    agent.cli("network", "create", "--internal", "inner")
    agent.cli("network", "create", "outer")
    start(agent, "box", network="inner")
    start(agent, "own", "--dns", "192.0.2.53", network="inner")
    agent.space.run("ip", "address", "add", "192.0.2.53/32", "dev", "lo")
    with open_server(agent.space.argv(), "192.0.2.53", "192.0.2.99"):
        with open_asker(agent, "own") as asker:
            assert asker.find("example.com") == NOTHING, "its own server is out of its reach"
        with open_asker(agent, "box") as asker:
            assert asker.find("example.com") == NOTHING
            agent.cli("network", "connect", "outer", "box")
            assert asker.find("example.com") == ["192.0.2.99"]
            agent.cli("network", "disconnect", "outer", "box")
            assert asker.find("example.org") == asker.find("example.com") == NOTHING
            agent.cli("network", "connect", "outer", "box")
            assert asker.find("example.org") == ["192.0.2.99"]


def test_what_is_ours_is_never_asked_outside(agent: Agent) -> None:
    """Also of a container that does not run; once it is gone, its name is anybody's."""
    agent.cli("network", "create", "demo")
    start(agent, "box")
    agent.space.run("ip", "address", "add", "192.0.2.53/32", "dev", "lo")
    with (
        open_server(agent.space.argv(), "192.0.2.53", "192.0.2.99"),
        open_asker(agent, "box") as asker,
    ):
        assert asker.find("shop.demo") == ["192.0.2.99"]
        agent.cli("create", "--name", "shop", "--network", "demo", *SLEEP)
        assert asker.find("shop") == asker.find("shop.demo") == NOTHING
        agent.cli("start", "shop")
        assert asker.find("shop") == [address_of(agent, "shop")]
        agent.cli("kill", "shop")
        assert asker.find("all.shop") == asker.find("shop") == NOTHING
        agent.stop()
        agent.start()
        assert asker.find("shop") == NOTHING
        agent.cli("rm", "shop")
        assert asker.find("shop") == ["192.0.2.99"]
        assert asker.find("localhost") == asker.find("a.localhost") == ["127.0.0.1"]
        assert asker.find("localhost", "AAAA") == ["::1"]


def test_servers_on_a_loopback(make_agent: Callable[..., Agent]) -> None:
    """The host's is asked from the host, by a container with IPv6 only; its own inside it."""
    agent = make_agent(settings='[network]\ndns_upstreams = ["127.0.0.53"]\n')
    agent.cli("network", "create", "--ipv6", "--subnet", "fd77:1::/64", "demo")
    start(agent, "box")
    start(agent, "own", "--dns", "127.0.0.53")
    with (
        open_server(agent.space.argv(), "127.0.0.53", "192.0.2.1"),
        open_server(inside(agent, "own"), "127.0.0.53", "192.0.2.2"),
        open_asker(agent, "box") as box,
        open_asker(agent, "own") as own,
    ):
        assert box.find("example.com") == ["192.0.2.1"]
        assert own.find("example.com") == ["192.0.2.2"]


def test_a_question_that_comes_back_to_us_ends(agent: Agent) -> None:
    """The host's server lives in a container and asks us, and we the host's server."""
    agent.cli("network", "create", "demo")
    address = start(agent, "loop")
    agent.space.run("ip", "route", "add", "192.0.2.53/32", "via", address)
    run([*inside(agent, "loop"), "ip", "address", "add", "192.0.2.53/32", "dev", "lo"])
    with open_relay(inside(agent, "loop"), "0.0.0.0", OURS), open_asker(agent, "loop") as asker:
        assert asker.find("example.com") == NOTHING
        assert asker.find("loop") == [address]
    metrics = agent.space.fetch("http://127.0.0.1:9323/metrics")
    asked = 'nodeagent_dns_upstream_queries_total{upstream="192.0.2.53",outcome="timeout"} 1'
    assert asked in metrics.splitlines()


def test_what_a_container_made_of_its_resolv_conf_stays(agent: Agent) -> None:
    for network in ("demo", "other"):
        agent.cli("network", "create", network)
    start(agent, "box", "--dns-search", "corp.example", "--dns-option", "ndots:2")
    text = agent.say("exec", "box", "cat", "/etc/resolv.conf")
    assert text.split("\n") == [
        "nameserver 127.0.0.11", "search corp.example", "options ndots:2"
    ]  # fmt: skip
    agent.cli("exec", "box", "sh", "-c", "echo nameserver 192.0.2.7 > /etc/resolv.conf")
    agent.cli("network", "connect", "other", "box")
    agent.cli("network", "disconnect", "other", "box")
    assert agent.say("exec", "box", "cat", "/etc/resolv.conf") == "nameserver 192.0.2.7"
