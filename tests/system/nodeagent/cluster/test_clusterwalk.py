"""A random walk over three managers: containers, partitions, kills and damage, in any order.

Each time all is healed, what every node has in its kernel and its names must be what the store and
the model say. ``NODEAGENT_WALKS`` asks for more walks than the check takes.
"""

import base64
import json
import os
import random
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from tests.system.harness.cluster import Hosts, open_hosts, pings
from tests.system.nodeagent.cluster.test_cluster import etcdctl, make_network, node_id
from tests.system.nodeagent.cluster.test_managers import can_change, stop_store, store_pids

pytestmark = pytest.mark.timeout(900)
WALKS = int(os.environ.get("NODEAGENT_WALKS", "2"))
STEPS, BETWEEN = 16, 8  # steps of a walk; between two looks at everything
SETTLE_S = (
    60.0  # a member that died is started again after up to 10 s, and nodes count as down for 6
)
NETWORKS = ("wx", "wy")
TAKEN: set[str] = set()  # verbs that the walks of this run have come by


@dataclass
class Box:
    node: int
    networks: set[str] = field(default_factory=set)


class Walk:
    """One walk, the same for the same seed."""

    def __init__(self, hosts: Hosts, seed: int) -> None:
        self.hosts, self.chance = hosts, random.Random(seed)
        self.boxes: dict[str, Box] = {}
        self.count = 0
        self.away: int | None = None  # the node that is cut off
        self.steps: list[str] = []
        self.ids = [node_id(agent) for agent in hosts.agents]
        for node in range(3):
            self.run(node)

    def step(self) -> None:
        """One verb on one node, or what befalls it."""
        verbs = (self.run, self.run, self.rm, self.connect, self.disconnect, self.restart,
                 self.cut, self.heal, self.kill_agent, self.kill_store, self.kill_tunnel,
                 self.flush, self.forget)  # fmt: skip
        act, node = self.chance.choice(verbs), self.chance.randrange(3)
        self.steps.append(f"{act.__name__} {node}")
        TAKEN.add(act.__name__)
        act(node)

    def agent(self, node: int):
        return self.hosts.agents[node]

    def on(self, node: int) -> list[str]:
        return [name for name, box in self.boxes.items() if box.node == node]

    def attempt(self, node: int, *words: str) -> bool:
        """Whether it was done. Only a node that is cut off, or has lost its store, may refuse."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            said = self.agent(node).cli(*words, check=False)
            if said.returncode == 0:
                return True
            assert "the cluster's store" in said.stderr, (words, said.stderr, self.steps)
            if node == self.away:
                return False
            assert time.monotonic() < deadline, (words, said.stderr, self.steps)
            time.sleep(0.2)

    # --- verbs ----------------------------------------------------------------------------------

    def run(self, node: int) -> None:
        name, network = f"c{self.count}", self.chance.choice(NETWORKS)
        self.count += 1
        words = ("run", "-d", "--name", name, "--network", network, "busybox", "sleep", "9999")
        if self.attempt(node, *words):
            self.boxes[name] = Box(node, {network})
        else:  # docker's grammar: what was created and cannot start stays
            self.agent(node).cli("rm", "-f", name, check=False)

    def rm(self, node: int) -> None:
        for name in self.on(node)[:1]:
            self.agent(node).cli("rm", "-f", name)
            del self.boxes[name]

    def connect(self, node: int) -> None:
        for name in self.on(node)[:1]:
            for network in set(NETWORKS) - self.boxes[name].networks:
                if self.attempt(node, "network", "connect", network, name):
                    self.boxes[name].networks.add(network)

    def disconnect(self, node: int) -> None:
        for name in self.on(node)[:1]:
            if len(self.boxes[name].networks) > 1:
                network = self.chance.choice(sorted(self.boxes[name].networks))
                self.agent(node).cli("network", "disconnect", network, name)
                self.boxes[name].networks.remove(network)

    def restart(self, node: int) -> None:
        for name in self.on(node)[:1]:
            self.agent(node).cli("restart", "-t", "0", name)

    def cut(self, node: int) -> None:
        if self.away is None:
            self.hosts.lab.cut(node)
            self.away = node

    def heal(self, _node: int) -> None:
        if self.away is not None:
            self.hosts.lab.heal(self.away)
            self.away = None

    def kill_agent(self, node: int) -> None:
        self.agent(node).kill()
        self.agent(node).start()

    def kill_store(self, node: int) -> None:
        stop_store(self.agent(node), signal.SIGKILL)

    def kill_tunnel(self, node: int) -> None:
        """The encrypting device goes, and with it the program that has made it."""
        sealed = self.agent(node).base / "run" / "sealed"
        if sealed.exists():
            script = "ip -o link | grep -o 'wg-[^:]*' | xargs -rn1 ip link del"
            self.hosts.inside(node, f"nsenter --net={sealed} sh -c {shlex.quote(script)}")

    def flush(self, node: int) -> None:
        self.hosts.inside(node, "nft flush ruleset")

    def forget(self, node: int) -> None:
        """Somebody takes away what the tunnels know."""
        for link in self.tunnels(node).values():
            for mac in self.column(node, f"bridge fdb show dev {link}", 0, "dst"):
                self.hosts.inside(node, f"bridge fdb del {mac} dev {link}")
            self.hosts.inside(node, f"ip neigh flush nud all dev {link}")

    # --- what must hold -------------------------------------------------------------------------

    def tunnels(self, node: int) -> dict[str, str]:
        """The VXLAN links that are there, by network."""
        found = {}
        for network in NETWORKS:
            link = f"vx-{self.agent(node).inspect('network', network)['Id'][:12]}"
            if link in self.hosts.inside(node, "ip -o link"):
                found[network] = link
        return found

    def settle(self) -> None:
        self.heal(0)
        deadline = time.monotonic() + SETTLE_S
        while found := self.differences():
            if time.monotonic() > deadline:
                logs = "\n".join(agent.log_tail() for agent in self.hosts.agents)
                raise AssertionError(f"{found}\n{self.steps}\n{logs}")
            time.sleep(0.3)
        self.reach()

    def differences(self) -> list[str]:
        for n, agent in enumerate(self.hosts.agents):
            if not store_pids(agent) or not can_change(agent) or self.hosts.ready(agent) != 3:
                return [f"node {n} is not well"]
        endpoints = {name: self.endpoints(name, box) for name, box in self.boxes.items()}
        found = list(self.store_differences(endpoints))
        for n in range(3):
            found += self.node_differences(n, endpoints)
        return found

    def endpoints(self, name: str, box: Box) -> dict[str, tuple[str, str]]:
        """(address, MAC) by network."""
        seen = self.agent(box.node).inspect("container", name)["NetworkSettings"]["Networks"]
        assert set(seen) == box.networks, (name, seen, self.steps)
        return {net: (each["IPAddress"], each["MacAddress"]) for net, each in seen.items()}

    def rows(self, prefix: str) -> dict[str, object]:
        """What the store has, read by a client of other authors."""
        said = etcdctl(self.hosts, 0, "get", "--prefix", f"/nodeagent/{prefix}", "-w", "json")
        listed = json.loads(said).get("kvs", [])
        return {
            base64.b64decode(each["key"]).decode(): msgspec.msgpack.decode(
                base64.b64decode(each.get("value", ""))
            )
            for each in listed
        }

    def store_differences(self, endpoints) -> Iterator[str]:
        """Each address is one container's, and each endpoint is told by its own node."""
        for network in NETWORKS:
            id_ = self.agent(0).inspect("network", network)["Id"]
            want = {(e[network][0], self.ids[self.boxes[name].node])
                    for name, e in endpoints.items() if network in e}  # fmt: skip
            assert len({address for address, _ in want}) == len(want), (endpoints, self.steps)
            have = {(key.rsplit("/", 1)[1], row["node_id"])
                    for key, row in self.rows(f"addr/{id_}/").items()}  # fmt: skip
            if have != want:
                yield f"addresses of {network}: {have} instead of {want}"
            told = {(row["addresses"][0], key.split("/")[4])
                    for key, row in self.rows(f"ep/{id_}/").items()}  # fmt: skip
            if told != want:
                yield f"endpoints of {network}: {told} instead of {want}"

    def node_differences(self, n: int, endpoints) -> Iterator[str]:
        tunnels = self.tunnels(n)
        for network in NETWORKS:
            here = [name for name in self.on(n) if network in self.boxes[name].networks]
            if bool(here) != (network in tunnels):
                yield f"node {n} has {network}: {network in tunnels}, with {here}"
            if not here or network not in tunnels:
                continue
            want = {name: e[network] for name, e in endpoints.items() if network in e}
            view = self.agent(n).inspect("network", network)
            names = {each["Name"]: each["Addresses"][0] for each in view["DNSRecords"]
                     if each["Ready"] and each["Name"] in self.boxes}  # fmt: skip
            if names != {name: address for name, (address, _) in want.items()}:
                yield f"names of {network} on {n}: {names} instead of {want}"
            far = {name: each for name, each in want.items() if self.boxes[name].node != n}
            link = tunnels[network]
            macs = self.column(n, f"bridge fdb show dev {link}", 0, "dst")
            if macs != {mac for _, mac in far.values()}:
                yield f"FDB of {network} on {n}: {macs} instead of {far}"
            known = self.column(n, f"ip neigh show dev {link} nud permanent", 0)
            if known != {address for address, _ in far.values()}:
                yield f"neighbours of {network} on {n}: {known} instead of {far}"

    def column(self, n: int, command: str, at: int, having: str = "") -> set[str]:
        lines = self.hosts.inside(n, command).splitlines()
        return {line.split()[at] for line in lines if having in line}

    def reach(self) -> None:
        """Some pairs of containers reach each other by name."""
        for name, box in list(self.boxes.items())[:4]:
            for network in box.networks:
                others = [o for o, b in self.boxes.items() if network in b.networks and o != name]
                for other in self.chance.sample(others, min(2, len(others))):
                    deadline = time.monotonic() + SETTLE_S
                    while not pings(self.agent(box.node), name, other):
                        assert time.monotonic() < deadline, (name, other, self.steps)


@pytest.fixture(scope="module")
def hosts(busybox_tar):
    with open_hosts(3, busybox_tar) as made:
        made.form("manager", "manager")
        for network in NETWORKS:
            make_network(made, network)
        yield made


@pytest.fixture
def clean(hosts):
    yield hosts
    for n, agent in enumerate(hosts.agents):
        hosts.lab.heal(n)
        for name in agent.say("container", "ls", "-aq").split():
            agent.cli("rm", "-f", name)


@pytest.mark.parametrize("seed", range(WALKS))
def test_all_nodes_come_to_agree(clean, seed):
    walk = Walk(clean, seed)
    for n in range(STEPS):
        walk.step()
        if n % BETWEEN == BETWEEN - 1:
            walk.settle()
