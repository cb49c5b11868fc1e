"""A random walk over networks and containers, with kills and damage: the kernel follows the model.

The model knows what was asked for, in ``netmodel``. Once a verb has returned, links, addresses,
routes, sets and maps, held ports, names and inspect are exactly that, without waiting; only what
somebody else has broken may take its time. ``NODEAGENT_WALKS`` asks for more walks than the check
takes, ``NODEAGENT_WALK_FROM`` for other seeds.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent
from tests.system.harness.netmodel import PORT, Box, End, Model, Net
from tests.system.harness.observer import read_answers, read_lines, read_rules

WALKS = int(os.environ.get("NODEAGENT_WALKS", "2"))
FROM = int(os.environ.get("NODEAGENT_WALK_FROM", "0"))
STEPS = 40
SETTLE_S = 15.0  # a repair takes a second; what is broken often waits 4
LOOK_S = 0.05
PORTS = (0, 18001, 18002, 18003)
NETS = ("na", "nb", "nc", "nd")
BOXES = ("ca", "cb", "cc")
ALIASES = ("web", "db", "cb")  # the last is a container's name, too
PROGRAM = ["sh", "-c", "trap exit TERM; sleep 1000 & wait"]
DAMAGE: dict[str, str] = {
    "the ruleset": "nft flush ruleset",
    "a map": "nft flush map inet {table} publish4",
    "a set": "nft flush set inet {table} same",
    "a bridge": "ip link delete {bridge}",
    "a bridge, down": "ip link set {bridge} down",
    "a gateway": "ip address flush dev {bridge}",
    "a veth": "ip link delete {veth}",
    "a veth, off the bridge": "ip link set {veth} nomaster",
    "a veth, down": "ip link set {veth} down",
    "an inner link": "{inside} ip link delete {interface}",
    "an inner link, down": "{inside} ip link set {interface} down",
    "an inner name": "{inside} ip link set {interface} address 02:00:00:00:00:01",
    "an inner address": "{inside} ip address delete {address} dev {interface}",
    "inner routes": "{inside} ip route flush dev {interface}",
    # one that is there: a new one would be the container's own business
    "the default route": "{inside} ip route change default dev {interface}",
    "the name server": "{inside} nft flush ruleset",
}


class Walk:
    """One walk, the same for the same seed."""

    def __init__(self, agent: Agent, seed: int) -> None:
        self.agent, self.chance, self.model = agent, random.Random(seed), Model()
        self.agent.remove_all()
        self.steps: list[str] = []
        (first,) = self.call("network.inspect", names=["bridge"])
        subnets = [each["Subnet"] for each in first["IPAM"]["Config"]]
        # never drawn, and always there
        self.model.nets["bridge"] = Net(name="bridge", subnets=subnets, id=first["Id"])
        self.before = self.agent.snapshot()
        self.rules = read_rules(self.agent.space.path)
        for name in NETS[:3]:
            self.network_create(name)
        for name in BOXES[:2]:
            self.run(name)

    def step(self) -> None:
        """One verb, or what befalls the agent or the kernel; then all is as the model says."""
        act: Callable[[str], None] = self.chance.choice(
            (
                self.network_create, self.network_rm, self.connect, self.connect, self.connect,
                self.disconnect, self.disconnect, self.publish, self.stop, self.start, self.start,
                self.restart, self.kill, self.rm, self.away, self.damage, self.damage, self.damage,
            )
        )  # fmt: skip
        name = self.chance.choice(NETS if act in {self.network_create, self.network_rm} else BOXES)
        if name in BOXES and name not in self.model.boxes:
            act = self.run
        self.steps.append(f"{act.__name__} {name}")
        act(name)
        self.check(within_s=SETTLE_S if act == self.damage else 0)

    def call(self, method: str, **params: object) -> Any:
        with open_sync_client(self.agent.host) as client:
            return client.call(method, params)

    def allowed(self, kind: str, method: str, **params: object) -> bool:
        """Make the call: with a ``kind`` it must be refused so, and change nothing."""
        if not kind:
            self.call(method, **params)
            return True
        with pytest.raises(RpcError) as caught:
            self.call(method, **params)
        assert caught.value.kind == kind, self.steps
        return False

    # --- networks ---------------------------------------------------------------------------------

    def network_create(self, name: str) -> None:
        number = NETS.index(name) + 1
        v6 = [f"fd88:{number}::/64"] if self.chance.random() < 0.5 else []
        net = Net(name=name, subnets=[f"10.88.{number}.0/24", *v6])
        net.internal = self.chance.random() < 0.3
        subnets = [{"subnet": each} for each in net.subnets]
        kind = "conflict" if name in self.model.nets else ""
        if self.allowed(kind, "network.create", name=name, subnets=subnets, internal=net.internal):
            net.id = self.call("network.inspect", names=[name])[0]["Id"]
            self.model.nets[name] = net

    def network_rm(self, name: str) -> None:
        kind = "" if name in self.model.nets else "missing"
        if any(name in box.ends for box in self.model.boxes.values()):
            kind = "busy"
        if self.allowed(kind, "network.rm", name=name):
            del self.model.nets[name]

    def drawn(self, box: Box, name: str) -> tuple[End, dict[str, object]]:
        """How a container joins a network, at random; and the request for it."""
        chance, net = self.chance, self.model.nets[name]
        end = End(net=net, interface=box.free_interface(), priority=chance.choice((0, 0, 0, 5)))
        end.aliases = [each for each in ALIASES if chance.random() < 0.3]
        asked: dict[str, object] = {"aliases": end.aliases, "gateway_priority": end.priority}
        if chance.random() < 0.4:
            ip = str(ip_network(net.subnets[0])[chance.randint(100, 103)])
            end.ipv4, asked["ip"] = f"{ip}/24", ip
        if chance.random() < 0.4:
            end.mac = asked["mac_address"] = f"02:88:00:00:00:{chance.randint(1, 4):02x}"
        return end, asked

    def is_taken(self, end: End) -> bool:
        others = [each.ends.get(end.net.name) for each in self.model.boxes.values()]
        return any(
            each and ((end.ipv4 and each.ipv4 == end.ipv4) or (end.mac and each.mac == end.mac))
            for each in others
        )

    def connect(self, name: str) -> None:
        box, net = self.model.boxes[name], self.chance.choice(NETS)
        if net not in self.model.nets:
            self.allowed("missing", "network.connect", network=net, container=name)
            return
        end, asked = self.drawn(box, net)
        kind = "conflict" if net in box.ends or self.is_taken(end) else ""
        if self.allowed(kind, "network.connect", network=net, container=name, endpoint=asked):
            box.ends[net] = end

    def disconnect(self, name: str) -> None:
        box, net = self.model.boxes[name], self.chance.choice(NETS)
        kind = "" if net in box.ends else "missing"
        if self.allowed(kind, "network.disconnect", network=net, container=name):
            del box.ends[net]

    # --- containers -------------------------------------------------------------------------------

    def run(self, name: str) -> None:
        """A container on some networks; its port is another container's maybe."""
        known = [each for each in NETS if each in self.model.nets]
        if not known:
            return
        box = Box(name=name, id="", port=self.chance.choice(PORTS))
        asked = {}
        for net in self.chance.sample(known, k=self.chance.randint(1, len(known))):
            end, request = self.drawn(box, net)
            if not self.is_taken(end):
                box.ends[net], asked[net] = end, request
        if not asked:
            return
        ports = [{"container_port": PORT, "host_ip": "127.0.0.1", "host_port": box.port}]
        made = self.call(
            "container.create", image="busybox", name=name, cmd=PROGRAM, networks=asked,
            network_mode=next(iter(asked)), ports=ports if box.port else [],
        )  # fmt: skip
        box.id = made["id"]
        self.model.boxes[name] = box
        self.start(name)

    def start(self, name: str, verb: str = "start") -> None:
        box = self.model.boxes[name]
        rivals = [each for each in self.model.up() if each is not box and each.port]
        is_held = not box.runs and box.port in {each.port for each in rivals}
        if self.allowed("conflict" if is_held else "", f"container.{verb}", name=name):
            box.runs = True

    def restart(self, name: str) -> None:
        self.start(name, "restart")

    def stop(self, name: str) -> None:
        self.call("container.stop", name=name, timeout_s=5)
        self.model.boxes[name].runs = False

    def kill(self, name: str) -> None:
        box = self.model.boxes[name]
        if self.allowed("" if box.runs else "conflict", "container.kill", name=name):
            self.call("container.wait", name=name)
            box.runs = False

    def rm(self, name: str) -> None:
        self.call("container.rm", name=name, force=True)
        del self.model.boxes[name]

    def publish(self, name: str) -> None:
        """Other ports, or none: another container of the name."""
        self.rm(name)
        self.run(name)

    # --- faults -----------------------------------------------------------------------------------

    def away(self, _name: str) -> None:
        """The agent is killed; maybe something breaks before there is another one."""
        self.agent.kill()
        if self.chance.random() < 0.5:
            self.break_something()
        self.agent.start()

    def damage(self, _name: str) -> None:
        self.break_something()
        if self.chance.random() < 0.3:
            self.call("network.repair")
            self.steps.append("repair")

    def break_something(self) -> None:
        """As somebody with root might; what it names may be there or not."""
        what = self.chance.choice(list(DAMAGE))
        boxes = [box for box in self.model.up() if box.ends]
        if not boxes:
            return
        box = self.chance.choice(boxes)
        end = box.ends[self.chance.choice(sorted(box.ends))]
        words = DAMAGE[what].format(
            table=self.table(),
            bridge=end.net.bridge,
            veth=f"ve{end.id[:13]}",
            interface=end.interface,
            address=end.ipv4,
            inside=f"nsenter --net={self.agent.run_dir / 'netns' / box.id} --",
        )
        done = self.agent.space.run(*words.split(), check=False)
        says = "breaks" if done.returncode == 0 else "finds none of"
        self.steps.append(f"  {says} {what} of {box.name} on {end.net.name}")

    def table(self) -> str:
        words = self.agent.space.run("nft", "list", "tables", "inet").stdout.split()
        return next((each for each in words if each.startswith("nodeagent")), "none")

    # --- what must hold ---------------------------------------------------------------------------

    def check(self, *, within_s: float) -> None:
        self.learn()
        deadline = time.monotonic() + within_s
        while found := self.differences():
            if time.monotonic() > deadline:
                said = "\n".join([*self.steps, "--- but", *found, "--- log", self.agent.log_tail()])
                raise AssertionError(said)
            time.sleep(LOOK_S)

    def learn(self) -> None:
        """What was left to the agent: chosen well, and from now on kept."""
        for net in self.model.nets.values():
            (view,) = self.call("network.inspect", names=[net.name])
            for box in self.model.up():
                if net.name not in box.ends:
                    continue
                end, seen = box.ends[net.name], view["Containers"].get(box.id, {})
                end.id = seen.get("EndpointID", "")
                end.mac = end.mac or seen.get("MacAddress", "")
                end.ipv4 = end.ipv4 or seen.get("IPv4Address", "")
                end.ipv6 = end.ipv6 or seen.get("IPv6Address", "")
            self.expect_fit(net, [b.ends[net.name] for b in self.model.up() if net.name in b.ends])

    def expect_fit(self, net: Net, ends: Sequence[End]) -> None:
        """Addresses are in the subnets, and neither the gateways' nor given twice."""
        given = [ip_interface(text) for end in ends for text in (end.ipv4, end.ipv6) if text]
        subnets = [ip_network(each) for each in net.subnets]
        assert {each.network for each in given} <= {*subnets}, self.steps
        gateways = [subnet[1] for subnet in subnets]
        assert len({*gateways, *(each.ip for each in given)}) == len(gateways) + len(given)

    def differences(self) -> list[str]:
        wanted, seen = self.model.lines(), read_lines(self.agent, filter(None, PORTS))
        for box in self.model.up():
            pin = self.agent.run_dir / "netns" / box.id
            if box.ends and pin.exists():
                seen |= set(read_answers(box.name, pin, self.model.questions(box)))
        found = [f"+ {line}" for line in sorted(seen - wanted)]
        found += [f"- {line}" for line in sorted(wanted - seen)]
        if read_rules(self.agent.space.path) != self.rules:
            found.append("the rules are others")
        return found

    def teardown(self) -> None:
        self.agent.remove_all()
        self.agent.expect(self.before)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(FROM, FROM + WALKS))
def test_walk(shared_agent: Agent, seed: int) -> None:
    walk = Walk(shared_agent, seed)
    for _ in range(STEPS):
        walk.step()
    walk.teardown()
