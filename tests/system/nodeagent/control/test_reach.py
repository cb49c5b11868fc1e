"""The reach matrix: every place against every address, both families, TCP and UDP.

Networks: ``one`` and ``two`` as anybody has them, ``inner`` without a way out, ``apart`` whose
containers open no connections to each other, ``routed`` without address translation. A neighbour,
``outside``, has routes to all of their subnets by way of the host, and even to its loopback.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.system.harness.agent import Agent, open_agent
from tests.system.harness.namespace import Namespace, join, open_namespace
from tests.system.harness.prober import KINDS, Cell, Prober

BRIDGE: Final = "com.docker.network.bridge"
NETWORKS: Final = {  # name -> (third digit of its subnets, further flags)
    "one": (1, ()),
    "two": (2, ()),
    "inner": (3, ("--internal",)),
    "apart": (4, ("-o", f"{BRIDGE}.enable_icc=false")),
    "routed": (
        5,
        ("-o", f"{BRIDGE}.gateway_mode_ipv4=routed", "-o", f"{BRIDGE}.gateway_mode_ipv6=routed"),
    ),
}
MEMBERS: Final = {  # name -> (network, published host port)
    "server1": ("one", 8081),
    "client1": ("one", 0),
    "client2": ("two", 0),
    "server3": ("inner", 8083),
    "client3": ("inner", 0),
    "server4": ("apart", 8084),
    "client4": ("apart", 0),
    "server5": ("routed", 8085),
    "client5": ("routed", 0),
}
PORT, SHUT, PRIVATE, LOOPBACK = 80, 81, 99, 8090  # published, not published, the host's own
HOST4, HOST6, OUTSIDE4, OUTSIDE6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"
CONTAINERS: Final = frozenset(MEMBERS)
INSIDE: Final = frozenset({"server3", "client3"})
EVERYBODY: Final = CONTAINERS | {"host", "outside"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address of each family, and who gets an answer there; all others must not."""

    what: str
    v4: str = ""
    v6: str = ""
    port: int
    reached_by: frozenset[str]
    seen_as_itself: frozenset[str] = frozenset()


def subnet(network: str) -> tuple[str, str]:
    """How the addresses of both families begin."""
    return f"10.81.{NETWORKS[network][0]}.", f"fd81:{NETWORKS[network][0]}::"


def own(name: str) -> dict[int, str]:
    """The addresses of a member or a host, by family."""
    if name in MEMBERS:
        network = MEMBERS[name][0]
        peers = [each for each, (where, _) in MEMBERS.items() if where == network]
        v4, v6 = subnet(network)
        return {4: f"{v4}{10 + peers.index(name)}", 6: f"{v6}{10 + peers.index(name)}"}
    return {4: HOST4, 6: HOST6} if name == "host" else {4: OUTSIDE4, 6: OUTSIDE6}


def at(name: str, what: str, port: int, *reached_by: str, itself: frozenset[str]) -> Target:
    """A container's own address; the container and the host always get an answer there."""
    return Target(
        what=f"{name} {what}",
        v4=own(name)[4],
        v6=own(name)[6],
        port=port,
        reached_by=frozenset({name, "host", *reached_by}),
        seen_as_itself=itself,
    )


def by_host(name: str, reached_by: frozenset[str], *, itself: frozenset[str]) -> Target:
    """The port that the container has published, at the host's address."""
    port = MEMBERS[name][1]
    return Target(
        what=f"host port of {name}",
        v4=HOST4,
        v6=HOST6,
        port=port,
        reached_by=reached_by,
        seen_as_itself=itself,
    )


def targets() -> Iterator[Target]:
    nobody: frozenset[str] = frozenset()
    strangers = frozenset({"outside", "client2", "client5"})
    yield at("server1", "unpublished", SHUT, "client1", itself=frozenset({"client1"}))
    yield at("server1", "published, past the host", PORT, "client1", itself=nobody)
    yield at("client2", "of another network", SHUT, itself=nobody)
    yield at("server3", "internal", SHUT, "client3", itself=frozenset({"client3"}))
    yield at("server4", "apart", SHUT, itself=nobody)
    yield at("server4", "apart, published, past the host", PORT, itself=nobody)
    yield at("server5", "routed, unpublished", SHUT, "client5", itself=nobody)
    # a routed network is there for everybody who may leave his own
    yield at("server5", "routed, published", PORT, *EVERYBODY - INSIDE, itself=strangers)
    yield by_host("server1", EVERYBODY - INSIDE, itself=strangers)
    yield by_host("server3", nobody, itself=nobody)
    yield by_host("server4", EVERYBODY - INSIDE, itself=strangers)
    yield by_host("server5", nobody, itself=nobody)
    yield Target(what="loopback-published", v4="127.0.0.1", port=LOOPBACK,
                 reached_by=frozenset({"host"}))  # fmt: skip
    yield Target(what="loopback-published, by the host's address", v4=HOST4, v6=HOST6,
                 port=LOOPBACK, reached_by=nobody)  # fmt: skip
    v4, v6 = subnet("one")
    yield Target(what="loopback-published, by the gateway", v4=f"{v4}1", v6=f"{v6}1",
                 port=LOOPBACK, reached_by=nobody)  # fmt: skip
    yield Target(what="host's own, at the gateway", v4=f"{v4}1", v6=f"{v6}1", port=PRIVATE,
                 reached_by=EVERYBODY - INSIDE - {"outside"})  # fmt: skip
    v4, v6 = subnet("inner")
    yield Target(what="host's own, at the internal gateway", v4=f"{v4}1", v6=f"{v6}1",
                 port=PRIVATE, reached_by=EVERYBODY - {"outside"})  # fmt: skip


def cells() -> Iterator[Cell]:
    """Every place against every target."""
    for target in targets():
        for version, address in ((4, target.v4), (6, target.v6)):
            for source in sorted(EVERYBODY) if address else ():
                for protocol in KINDS:
                    yield Cell(
                        source=source,
                        address=address,
                        port=target.port,
                        protocol=protocol,
                        reaches=source in target.reached_by,
                        seen_as=own(source)[version] if source in target.seen_as_itself else "",
                        what=target.what,
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The agent with its containers, and who asks."""

    agent: Agent
    prober: Prober

    def check(self) -> None:
        wrong = self.prober.ask(cells())
        assert not wrong, "\n".join([f"{len(wrong)} cells are wrong", *wrong])


@pytest.fixture(scope="module")
def ground(busybox_tar: Path) -> Iterator[Ground]:
    with open_namespace() as host, open_namespace() as outside:
        _lay_cable(host, outside)
        with open_agent(host) as agent:
            agent.cli("image", "import", str(busybox_tar), "busybox:latest")
            for name, (_, flags) in NETWORKS.items():
                v4, v6 = subnet(name)
                pair = ("--ipv6", "--subnet", f"{v4}0/24", "--subnet", f"{v6}/64")
                agent.cli("network", "create", *pair, *flags, name)
            for name in MEMBERS:
                _run(agent, name)
            spaces = {name: _sandbox(agent, name) for name in MEMBERS}
            prober = Prober(spaces | {"host": host.path, "outside": outside.path})
            try:
                _serve(prober)
                yield Ground(agent=agent, prober=prober)
            finally:
                prober.close()


def _lay_cable(host: Namespace, outside: Namespace) -> None:
    """With routes by which the neighbour tries to get past the host's published ports."""
    join(host, outside, prefix="192.0.2")
    # it forwards already, so that nothing but the rules of the networks is in the neighbour's way
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    for space, address in ((host, HOST6), (outside, OUTSIDE6)):
        link = space.run("ip", "-o", "-4", "addr", "show", "to", "192.0.2.0/24").stdout.split()[1]
        space.run("ip", "addr", "add", f"{address}/64", "dev", link, "nodad")
        space.run("sysctl", "-qw", f"net.ipv4.conf.{link}.route_localnet=1")
    for name in NETWORKS:
        v4, v6 = subnet(name)
        outside.run("ip", "route", "add", f"{v4}0/24", "via", HOST4)
        outside.run("ip", "-6", "route", "add", f"{v6}/64", "via", HOST6)
    outside.run("ip", "route", "add", "127.0.0.1/32", "via", HOST4, "src", OUTSIDE4, "table", "9")
    outside.run("ip", "rule", "add", "to", "127.0.0.1", "lookup", "9", "pref", "0")
    outside.run("ip", "rule", "add", "lookup", "local", "pref", "10")
    outside.run("ip", "rule", "del", "lookup", "local", "pref", "0")


def _run(agent: Agent, name: str) -> None:
    network, port = MEMBERS[name]
    hosts = [f"{ip}:{port}:{PORT}" for ip in ("0.0.0.0", "[::]")] if port else []
    hosts += [f"127.0.0.1:{LOOPBACK}:{PORT}"] if name == "server1" else []
    flags = [word for each in hosts for kind in KINDS for word in ("-p", f"{each}/{kind}")]
    address = own(name)
    flags += ["--network", network, "--ip", address[4], "--ip6", address[6]]
    agent.cli("run", "-d", "--name", name, *flags, "busybox", "sleep", "100000")


def _sandbox(agent: Agent, name: str) -> Path:
    return Path(agent.inspect("container", name)["NetworkSettings"]["SandboxKey"])


def _serve(prober: Prober) -> None:
    for name in MEMBERS:
        for port in (PORT, SHUT):
            prober.listen(name, port)
    for network in ("one", "inner"):
        for begin in subnet(network):
            prober.listen("host", PRIVATE, f"{begin}1")


def test_the_matrix_has_both_kinds_of_cells_of_each_kind() -> None:
    asked = list(cells())
    assert len({(cell.source, cell.address, cell.port, cell.protocol) for cell in asked}) == len(
        asked
    )
    for protocol in KINDS:
        for source in EVERYBODY:
            mine = {cell.reaches for cell in asked
                    if (cell.source, cell.protocol) == (source, protocol)}  # fmt: skip
            assert mine == {True, False}, source


def test_everybody_reaches_what_he_should_and_nothing_else(ground: Ground) -> None:
    ground.check()


def test_the_same_after_the_ruleset_was_flushed_and_mended(ground: Ground) -> None:
    ground.agent.space.run("nft", "flush", "ruleset")
    ground.agent.cli("network", "repair")
    ground.check()


def test_the_same_however_the_kernel_treats_bridged_packets(ground: Ground) -> None:
    """With and without br_netfilter's hooks; where the kernel has none, there is one way only."""
    space = ground.agent.space
    names = [f"net.bridge.bridge-nf-call-{family}tables" for family in ("ip", "ip6")]
    if space.run("sysctl", "-n", *names, check=False).returncode:
        pytest.skip("this kernel has no br_netfilter: the other tests were the whole of it")
    for value in (0, 1):
        space.run("sysctl", "-qw", *(f"{name}={value}" for name in names))
        ground.agent.cli("network", "repair")
        ground.check()


def test_a_port_on_the_loopback_of_ipv6_is_refused(ground: Ground) -> None:
    done = ground.agent.cli("run", "-d", "-p", "[::1]:80:80", "busybox", "sleep", "1", check=False)
    assert done.returncode == 125
    assert "ports[0].host_ip" in done.stderr
    assert "127.0.0.1" in done.stderr
