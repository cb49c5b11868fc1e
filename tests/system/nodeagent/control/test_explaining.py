"""``network explain`` against a real agent, which mends its own all the while."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.namespace import Namespace, join, open_namespace

SLEEP = ("busybox", "sleep", "1000")
SERVE = ("busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -h /")
AGAIN_S = "0.02"  # between two plantings; the agent looks once a second at most
TRIES = 6


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Containers web (served, published) and client on net, other on back, alone on inner."""

    agent: Agent
    outside: Namespace
    host_ip: str
    outside_ip: str

    def explain(self, *words: str) -> tuple[dict, int]:
        done = self.agent.cli("network", "explain", "--format", "json", *words, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done.returncode

    def bridge(self, network: str = "net") -> str:
        return f"br-{self.agent.inspect('network', network)['Id'][:12]}"

    def veth(self, container: str, network: str = "net") -> str:
        view = self.agent.inspect("container", container)["NetworkSettings"]["Networks"][network]
        return f"ve{view['EndpointID'][:13]}"

    def ip(self, container: str, network: str = "net") -> str:
        view = self.agent.inspect("container", container)["NetworkSettings"]["Networks"][network]
        return view["IPAddress"]

    def inside(self, container: str) -> list[str]:
        return ["nsenter", "-t", str(self.agent.pid_of(container)), "-n"]


@pytest.fixture(scope="module")
def stage(shared_agent: Agent) -> Iterator[Stage]:
    agent = shared_agent
    with open_namespace() as outside:
        host_ip, outside_ip = join(agent.space, outside)
        agent.space.run("ip", "route", "add", "default", "via", outside_ip)
        outside.run("ip", "route", "add", "default", "via", host_ip)
        agent.cli("network", "create", "--subnet", "10.77.0.0/24", "net")
        agent.cli("network", "create", "--subnet", "10.78.0.0/24", "back")
        agent.cli("network", "create", "--internal", "--subnet", "10.79.0.0/24", "inner")
        port = f"{host_ip}:8080:80"
        agent.cli("run", "-d", "--name", "web", "--network", "net", "-p", port, *SERVE)
        agent.cli("run", "-d", "--name", "client", "--network", "net", *SLEEP)
        agent.cli("run", "-d", "--name", "other", "--network", "back", *SLEEP)
        agent.cli("run", "-d", "--name", "alone", "--network", "inner", *SLEEP)
        agent.cli("run", "-d", "--name", "plain", *SLEEP)
        agent.cli("create", "--name", "idle", "--network", "net", *SLEEP)
        yield Stage(agent=agent, outside=outside, host_ip=host_ip, outside_ip=outside_ip)


@pytest.mark.parametrize(
    "words",
    [
        ("client", "web:80"),
        ("client", "web"),
        ("client", "web.net:80"),
        ("client", "HOST:8080"),
        ("other", "HOST:8080"),
        ("client", "OUTSIDE"),
        ("host", "web:80"),
        ("host", "HOST:8080"),
        ("web", "127.0.0.1:80"),
    ],
)
def test_what_is_whole_is_reachable(stage: Stage, words: tuple[str, str]) -> None:
    source, target = words
    target = target.replace("HOST", stage.host_ip).replace("OUTSIDE", stage.outside_ip)
    found, code = stage.explain(source, target)
    assert (found["Reachable"], code) == (True, 0), found
    assert not [hop for hop in found["Hops"] if hop["State"] != "ok"]


def test_it_is_a_table_for_people(stage: Stage) -> None:
    printed = stage.agent.say("network", "explain", "client", "web:80").splitlines()
    assert printed[0].split() == ["HOP", "WHERE", "WHAT"]
    assert printed[-1] == "client to web port 80/tcp: reachable (connection accepted)"
    places = [line.split()[0] for line in printed[1:-2]]
    assert places[:5] == ["name", "dns", "interface", "route", "conntrack"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is planted by ``sh`` on the host or in a container, what is asked, what must be said.

    ``ours``: the agent would mend it, so it is planted again and again. ``mend``: takes it away.
    """

    plant: str = ""
    mend: str = ""
    where: str = ""
    ours: bool = False
    words: tuple[str, str] = ("client", "web:80")
    place: str
    says: tuple[str, ...]


def drop(family: str, hook: str, rule: str) -> dict[str, str]:
    chain = f"{{ type filter hook {hook} priority 0; }}"
    return {
        "plant": f"nft add table {family} foreign; nft 'add chain {family} foreign stop {chain}'; "
        f"nft add rule {family} foreign stop {rule} drop",
        "mend": f"nft delete table {family} foreign",
    }


FAULTS = {
    "link down": Fault(
        plant="ip link set {veth_web} down", ours=True, place="veth", says=("{veth_web}", "down")
    ),
    "bridge down": Fault(
        plant="ip link set {bridge} down", ours=True, place="bridge", says=("{bridge}", "down")
    ),
    "off the bridge": Fault(
        plant="ip link set {veth_web} nomaster", ours=True, place="veth", says=("not on bridge",)
    ),
    "route gone": Fault(
        plant="ip route del default",
        where="client",
        ours=True,
        words=("client", "{outside_ip}"),
        place="route",
        says=("no route",),
    ),
    "address gone": Fault(
        plant="ip addr flush dev eth0",
        where="web",
        ours=True,
        place="interface",
        says=("address {web_ip}/24 is gone",),
    ),
    "gateway gone": Fault(
        plant="ip addr flush dev {bridge}",
        ours=True,
        words=("client", "{outside_ip}"),
        place="bridge",
        says=("10.77.0.1 is gone",),
    ),
    "wrong MAC entry": Fault(
        plant="ip neigh replace {web_ip} lladdr 02:00:00:00:00:99 dev eth0",
        mend="ip neigh del {web_ip} dev eth0",
        where="client",
        place="neighbour",
        says=("wrong MAC", "02:00:00:00:00:99"),
    ),
    "drop rule of ours": Fault(
        words=("client", "{other_ip}"),
        place="isolation",
        says=("our rule", "oifname @bridges drop", "inet nodeagent"),
    ),
    "drop rule of the operator": Fault(
        plant="nft add rule inet {table} operator-before ip daddr {outside_ip} drop",
        mend="nft flush chain inet {table} operator-before",
        words=("client", "{outside_ip}"),
        place="rules",
        says=("the operator's rule", "ip daddr {outside_ip} drop"),
    ),
    "drop rule of someone else": Fault(
        **drop("ip", "forward", "ip saddr {client_ip}"),
        words=("client", "{outside_ip}"),
        place="rules",
        says=("not ours", "ip saddr {client_ip} drop", "ip foreign"),
    ),
    "drop rule in the container": Fault(
        **drop("inet", "input", "tcp dport 80"),
        where="web",
        place="rules",
        says=("not ours", "tcp dport 80 drop", "rules of web"),
    ),
    "forwarding off": Fault(
        plant="sysctl -qw net.ipv4.ip_forward=0",
        ours=True,
        words=("client", "{outside_ip}"),
        place="forwarding",
        says=("net.ipv4.ip_forward = 0",),
    ),
    "rp_filter": Fault(
        plant="sysctl -qw net.ipv4.conf.{bridge}.rp_filter=1; ip route replace {client_ip} dev lo",
        mend="sysctl -qw net.ipv4.conf.{bridge}.rp_filter=0; ip route del {client_ip} dev lo",
        words=("client", "{outside_ip}"),
        place="rp_filter",
        says=("net.ipv4.conf.{bridge}.rp_filter = 1",),
    ),
    "no listener": Fault(
        words=("client", "web:81"), place="listener", says=("no listener on 81/tcp", "80/tcp")
    ),
    "no DNS record": Fault(
        words=("client", "other"), place="name", says=("other is on network back", "on network net")
    ),
    "no DNS record of one that does not run": Fault(
        words=("client", "idle"), place="name", says=("idle does not run",)
    ),
    "DNS server dead": Fault(
        **drop("ip", "input", "ip daddr 127.0.0.11 udp dport != 1"),
        where="client",
        place="dns",
        says=("127.0.0.11", "the name server is dead for it: no answer"),
    ),
    "MTU black hole": Fault(
        plant="ip link set {veth_web} mtu 1200",
        ours=True,
        place="mtu",
        says=("black hole", "{veth_web} (MTU 1200)"),
    ),
    "isolated network": Fault(
        words=("alone", "{outside_ip}"), place="route", says=("network inner is internal",)
    ),
    "port not published": Fault(
        words=("client", "{host_ip}:9999"), place="publish", says=("not published",)
    ),
    "port not published, from outside": Fault(
        words=("outside:{outside_ip}", "{web_ip}:80"),
        place="isolation",
        says=("not published", "network net"),
    ),
}


@contextmanager
def planted(stage: Stage, fault: Fault, plant: str, mend: str) -> Iterator[None]:
    enter = stage.inside(fault.where) if fault.where else stage.agent.space.argv()
    if not fault.ours:
        subprocess.run([*enter, "sh", "-ec", plant], check=True, timeout=20)
        try:
            yield
        finally:
            subprocess.run([*enter, "sh", "-c", mend], check=True, timeout=20)
        return
    again = f"while :; do {plant} 2>/dev/null; sleep {AGAIN_S}; done"
    subprocess.run([*enter, "sh", "-ec", plant], check=True, timeout=20)
    with subprocess.Popen([*enter, "sh", "-c", again]) as child:
        try:
            yield
        finally:
            child.kill()
            child.wait()
            stage.agent.cli("network", "repair")


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(stage: Stage, name: str) -> None:
    fault = FAULTS[name]
    tables = stage.agent.space.run("nft", "list", "tables").stdout.split()
    table = next(each for each in tables if each.startswith("nodeagent"))
    known = {
        "bridge": stage.bridge(),
        "veth_web": stage.veth("web"),
        "table": table,
        "web_ip": stage.ip("web"),
        "client_ip": stage.ip("client"),
        "other_ip": stage.ip("other", "back"),
        "host_ip": stage.host_ip,
        "outside_ip": stage.outside_ip,
    }

    def fill(text: str) -> str:
        for key, value in known.items():
            text = text.replace(f"{{{key}}}", value)
        return text

    with planted(stage, fault, fill(fault.plant), fill(fault.mend)):
        # what is ours is mended several times a second: an answer may be of a moment in between
        for _ in range(TRIES if fault.ours else 1):
            found, code = stage.explain(*map(fill, fault.words))
            failing = [hop["Place"] for hop in found["Hops"] if hop["State"] == "fails"]
            if failing[:1] == [fault.place]:
                break
    assert (found["Reachable"], code) == (False, 1), found
    first = next(hop for hop in found["Hops"] if hop["State"] == "fails")
    assert first["Place"] == fault.place, found
    missing = [words for words in map(fill, fault.says) if words not in found["Summary"]]
    assert not missing, found
    assert "nodeagent-trace" not in stage.agent.space.run("nft", "list", "ruleset").stdout


def test_what_was_planted_is_gone(stage: Stage) -> None:
    """The agent mended what was its own, and explain finds nothing any more."""
    found, _ = stage.explain("client", "web:80")
    assert found["Reachable"] is True, found["Summary"]
    assert stage.agent.say("network", "plan") == "nothing to change"


def test_a_published_port_from_outside_is_only_looked_at(stage: Stage) -> None:
    found, code = stage.explain(f"outside:{stage.outside_ip}", f"{stage.host_ip}:8080")
    assert (found["Reachable"], code) == (None, 0), found
    assert "not tried" in found["Summary"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobody", "web"), "no such container"),
        (("idle", "web"), "does not run"),
        (("host", "nobody"), "no such container"),
        (("client", "web:0"), "a port is 1 to 65535"),
        (("client", "web:80/icmp"), "tcp or udp"),
        (("client", "web:"), "write TO"),
        (("outside:here", "web"), "not an IP address"),
    ],
)
def test_bad_questions(stage: Stage, words: tuple[str, str], says: str) -> None:
    done = stage.agent.cli("network", "explain", *words, check=False)
    assert done.returncode in {1, 125}
    assert says in done.stderr


def test_without_a_probe_nothing_is_sent(stage: Stage) -> None:
    found, code = stage.explain("--no-probe", "client", "web:80")
    assert (found["Reachable"], code) == (None, 0), found
    found, code = stage.explain("--no-probe", "client", "web:81")
    assert (found["Reachable"], code) == (False, 1), found


def test_the_default_network_gives_no_names(stage: Stage) -> None:
    stage.agent.cli("run", "-d", "--name", "plain2", *SLEEP)
    found, _ = stage.explain("plain", "plain2")
    assert found["Reachable"] is False
    assert "the predefined network gives no names" in found["Summary"]
