"""Containers on a wire: reached by whoever else is on it, apart from the host unless asked for."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.namespace import Namespace, join, open_namespace
from tests.system.harness.wire import Wire, open_wire

SLEEP = ("busybox", "sleep", "1000")
SERVE = ("busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
V4 = ("--subnet", "192.0.2.0/24", "--gateway", "192.0.2.1")
V6 = ("--subnet", "2001:db8::/64", "--gateway", "2001:db8::1")
PING = ("ping", "-c1", "-W2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host with an agent and another machine, both on one wire."""

    agent: Agent
    wire: Wire
    other: Namespace

    def create(self, *args: str, name: str = "lan", parent: str = "up0") -> None:
        self.agent.cli("network", "create", "-d", "macvlan", "-o", f"parent={parent}", *args, name)

    def run(self, name: str, *args: str, network: str = "lan", serve: bool = False) -> None:
        words = SERVE if serve else SLEEP
        self.agent.cli("run", "-d", "--name", name, "--network", network, *args, *words)

    def address(self, name: str, network: str = "lan") -> str:
        view = self.agent.inspect("container", name)["NetworkSettings"]["Networks"][network]
        address: str = view["IPAddress"]
        return address

    def answers(self, name: str, *args: str) -> bool:
        """Whether a command in a container succeeds."""
        return self.agent.cli("exec", name, *args, check=False).returncode == 0


@pytest.fixture
def place(space: Namespace, make_agent: Callable[..., Agent]) -> Iterator[Place]:
    with open_wire() as wire, open_namespace() as other:
        wire.plug(space, "up0", "192.0.2.10/24", "2001:db8::10/64")
        wire.plug(other, "up1", "192.0.2.1/24", "2001:db8::1/64")
        yield Place(agent=make_agent(space), wire=wire, other=other)


def test_a_machine_on_the_wire_reaches_a_container_in_both_families(place: Place) -> None:
    before = place.agent.snapshot()
    place.create(*V4, *V6)
    place.run("web", "--ip", "192.0.2.80", "--ip6", "2001:db8::80", serve=True)
    assert "root" in place.other.fetch("http://192.0.2.80/passwd")
    assert "root" in place.other.fetch("http://[2001:db8::80]/passwd")
    for address in ("192.0.2.1", "2001:db8::1"):
        assert place.answers("web", *PING, address)
    assert not place.answers("web", *PING, "192.0.2.10")  # the host is not on it
    place.agent.cli("rm", "-f", "web")
    place.agent.cli("network", "rm", "lan")
    place.agent.expect(before)


def test_containers_find_each_other_by_name_and_private_ones_do_not_meet(place: Place) -> None:
    place.create(*V4)
    place.wire.plug(place.agent.space, "up2")
    place.create(*V4, "-o", "macvlan_mode=private", name="apart", parent="up2")
    for network in ("lan", "apart"):
        place.run(f"{network}-a", network=network)
        place.run(f"{network}-b", "--ip", f"192.0.2.{len(network) + 100}", network=network)
    assert place.answers("lan-a", *PING, "lan-b")
    assert not place.answers("apart-a", *PING, "192.0.2.105")
    assert place.answers("apart-a", *PING, "192.0.2.1")


def test_range_reserved_addresses_and_the_hosts_own_are_kept(place: Place) -> None:
    place.agent.space.run("ip", "address", "add", "192.0.2.11/24", "dev", "up0")
    reserved = ("--aux-address", "printer=192.0.2.9")
    place.create(*V4, "--ip-range", "192.0.2.8/29", *reserved)
    for name in ("a", "b", "c", "d"):
        place.run(name)
    given = {place.address(name) for name in ("a", "b", "c", "d")}
    assert given == {"192.0.2.8", "192.0.2.12", "192.0.2.13", "192.0.2.14"}
    place.run("e")
    assert place.address("e") == "192.0.2.15"
    done = place.agent.cli("run", "-d", "--network", "lan", *SLEEP, check=False)
    assert "no address is left" in done.stderr
    done = place.agent.cli(
        "run", "-d", "--network", "lan", "--ip", "192.0.2.11", *SLEEP, check=False
    )
    assert "in use" in done.stderr


def test_host_access(place: Place) -> None:
    place.create(*V4, "-o", "host_access=true", "--aux-address", "host=192.0.2.250")
    place.run("web", "--ip", "192.0.2.80", serve=True)
    assert "root" in place.agent.space.fetch("http://192.0.2.80/passwd")
    assert place.answers("web", *PING, "192.0.2.250")
    assert place.answers("web", *PING, "192.0.2.10")


def test_a_killed_agent_takes_over_what_it_finds(place: Place) -> None:
    place.create(*V4, *V6, "-o", "host_access=true", "--aux-address", "host=192.0.2.250",
                 "--aux-address", "host=2001:db8::250")  # fmt: skip
    place.run("web", "--ip", "192.0.2.80", serve=True)
    place.agent.kill()
    assert "root" in place.other.fetch("http://192.0.2.80/passwd")
    place.agent.start()
    assert place.agent.say("network", "plan") == "nothing to change"
    assert "root" in place.other.fetch("http://192.0.2.80/passwd")
    assert place.agent.say("network", "repair") == "nothing was changed"


def test_ports_are_refused_at_create_unless_a_bridge_serves_them(place: Place) -> None:
    place.create(*V4)
    before = place.agent.snapshot()
    for port in (("-p", "8080:80"), ("-P", "--expose", "80")):
        done = place.agent.cli("run", "-d", "--network", "lan", *port, *SERVE, check=False)
        assert done.returncode == 125
        assert "bridge network" in done.stderr
    assert place.agent.rows("container", "-a") == []
    place.agent.expect(before)
    place.agent.cli("network", "create", "demo")
    host, _ = join(place.agent.space, place.other, prefix="198.51.100")
    published = ("-p", f"{host}:8080:80")
    place.agent.cli("create", "--name", "web", "--network", "demo", *published, *SERVE)
    place.agent.cli("network", "connect", "--ip", "192.0.2.80", "lan", "web")
    place.agent.cli("start", "web")
    assert "root" in place.other.fetch(f"http://{host}:8080/passwd")
    assert "root" in place.other.fetch("http://192.0.2.80/passwd")
    place.run("first", *("-p", f"{host}:8081:80"), "--network", "demo", serve=True)
    assert "root" in place.other.fetch(f"http://{host}:8081/passwd")


REFUSED = {
    "no subnet": ((), "--subnet"),
    "no such parent": ((*V4, "-o", "parent=up7"), "up7"),
    "a VLAN on nothing": ((*V4, "-o", "parent=up7.30"), "up7"),
    "loopback": ((*V4, "-o", "parent=lo"), "parent"),
    "mode": ((*V4, "-o", "macvlan_mode=fast"), "macvlan_mode"),
    "option": ((*V4, "-o", "fast=true"), "fast"),
    "host access without address": ((*V4, "-o", "host_access=true"), "--aux-address"),
    "internal with a parent": (("--internal",), "parent"),
    "same wire": ((*V4,), "overlaps"),
    "range": ((*V4, "--ip-range", "198.51.100.0/25"), "range"),
}


def test_a_kernel_without_vlans_is_named_or_makes_one(place: Place) -> None:
    before = place.agent.snapshot()
    base = ("network", "create", "-d", "macvlan", "-o", "parent=up0.30", *V4, "lan")
    done = place.agent.cli(*base, check=False)
    if done.returncode:
        assert "the kernel has no vlan links" in done.stderr
        assert "8021q" in done.stderr
    else:
        assert "up0.30" in place.agent.space.run("ip", "-br", "link").stdout
        place.agent.cli("network", "rm", "lan")
    place.agent.expect(before)


def test_passthru_is_for_one_container(place: Place) -> None:
    place.wire.plug(place.agent.space, "up2")
    place.create(*V4, "-o", "macvlan_mode=passthru", parent="up2")
    place.run("one")
    done = place.agent.cli("run", "-d", "--network", "lan", *SLEEP, check=False)
    assert done.returncode == 125
    assert "passthru" in done.stderr
    assert place.answers("one", *PING, "192.0.2.1")


def test_a_parent_that_goes_and_comes_back(place: Place) -> None:
    place.create(*V4)
    place.run("web", "--ip", "192.0.2.80", serve=True)
    before = place.agent.pid_of("web")
    place.agent.space.run("ip", "link", "delete", "up0")
    assert "parent=up0" in wait_for(lambda: place.agent.log_tail(), "parent link is not there")
    assert place.agent.pid_of("web") == before
    done = place.agent.cli("run", "-d", "--network", "lan", *SLEEP, check=False)
    assert "parent=up0" in done.stderr or "parent up0" in done.stderr
    place.wire.plug(place.agent.space, "up0")
    command = ("curl", "-fsS", "-m", "1", "http://192.0.2.80/passwd")
    assert wait_for(lambda: place.other.run(*command, check=False).stdout, "root")
    assert place.agent.pid_of("web") == before


def wait_for(look: Callable[[], str], word: str, within_s: float = 15.0) -> str:
    """What is seen once the word is in it."""
    deadline = time.monotonic() + within_s
    while word not in (seen := look()):
        assert time.monotonic() < deadline, f"no {word!r} in: {seen}"
        time.sleep(0.1)
    return seen


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_names_the_fix_and_leaves_nothing(place: Place, case: str) -> None:
    args, says = REFUSED[case]
    if case == "same wire":
        place.create(*V4, name="first")
    before = place.agent.snapshot()
    base = ("network", "create", "-d", "macvlan", "-o", "parent=up0")
    done = place.agent.cli(*base, *args, "lan", check=False)
    assert done.returncode in {1, 125}
    assert says in done.stderr
    assert "lan" not in [row["Name"] for row in place.agent.rows("network")]
    place.agent.expect(before)
