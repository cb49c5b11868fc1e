"""A random walk over networks and containers, with kills and damage: the kernel follows the model.

The model knows only what was asked for. After every step the kernel is read with other tools than
the agent's and must come to hold exactly that: bridges, sandboxes, interfaces, addresses, default
routes, published ports, names. ``NODEAGENT_WALKS`` asks for more walks than the check takes.
"""

import os
import time
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent
from tests.system.harness.observer import family, look, look_inside

WALKS = int(os.environ.get("NODEAGENT_WALKS", "0"))  # 0: the few of the check, always the same
STEPS = 15
SETTLE_S = 10.0  # a repair takes one second; the rest is for a busy machine
LOOK_S = 0.05
PORT_BASE = 18000
NAMES = ("a", "b", "c", "d")
DAMAGE = ("ruleset", "bridge", "veth", "bridge down", "inner address", "inner route", "inner link")


@dataclass
class Net:
    number: int
    internal: bool
    ipv6: bool

    @property
    def subnets(self) -> list[str]:
        v6 = [f"fd88:{self.number}::/64"] if self.ipv6 else []
        return [f"10.88.{self.number}.0/24", *v6]


@dataclass
class Box:
    id: str
    nets: set[str]
    port: int = 0
    runs: bool = True
    addresses: set[str] = field(default_factory=set)


class Walk(RuleBasedStateMachine):
    """One walk; ``agent`` is put in by the test."""

    agent: Agent

    @initialize()
    def begin(self) -> None:
        self.agent.remove_all()
        self.nets: dict[str, Net] = {}
        self.boxes: dict[str, Box] = {}
        self.before = self.agent.snapshot()
        for name, internal, ipv6 in (("a", False, False), ("b", False, True), ("c", True, True)):
            self.network_create(name, internal=internal, ipv6=ipv6)
        self.box_run("a", ["a", "b"], publish=True)
        self.box_run("b", ["a"], publish=True)

    def call(self, method: str, **params: object) -> object:
        with open_sync_client(self.agent.host) as client:
            return client.call(method, params)

    def refused(self, kind: str, method: str, **params: object) -> None:
        """A call that must be refused, and so change nothing."""
        with pytest.raises(RpcError) as caught:
            self.call(method, **params)
        assert caught.value.kind == kind

    # --- networks -----------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), internal=st.booleans(), ipv6=st.booleans())
    def network_create(self, name: str, *, internal: bool, ipv6: bool) -> None:
        net = Net(number=NAMES.index(name) + 1, internal=internal, ipv6=ipv6)
        subnets = [{"subnet": subnet} for subnet in net.subnets]
        params = {"name": f"n{name}", "subnets": subnets, "internal": internal, "ipv6": ipv6}
        if name in self.nets:
            return self.refused("conflict", "network.create", **params)
        self.call("network.create", **params)
        self.nets[name] = net
        return None

    @precondition(lambda self: self.nets)
    @rule(data=st.data())
    def network_rm(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.nets)))
        if any(name in box.nets for box in self.boxes.values()):
            return self.refused("busy", "network.rm", name=f"n{name}")
        self.call("network.rm", name=f"n{name}")
        del self.nets[name]
        return None

    # --- containers ---------------------------------------------------------------------------

    @precondition(lambda self: self.nets)
    @rule(data=st.data(), name=st.sampled_from(NAMES), publish=st.booleans())
    def run(self, data: st.DataObject, name: str, *, publish: bool) -> None:
        joined = data.draw(st.lists(st.sampled_from(sorted(self.nets)), min_size=1, unique=True))
        if name not in self.boxes:
            self.box_run(name, joined, publish=publish)

    def box_run(self, name: str, joined: list[str], *, publish: bool) -> None:
        port = PORT_BASE + NAMES.index(name) if publish else 0
        made = self.call(
            "container.create",
            image="busybox",
            name=f"c{name}",
            cmd=["sh", "-c", "trap exit TERM; sleep 1000 & wait"],
            network_mode=f"n{joined[0]}",
            networks={f"n{each}": {} for each in joined},
            ports=[{"container_port": 80, "host_ip": "127.0.0.1", "host_port": port}][: bool(port)],
        )
        assert isinstance(made, dict)
        self.boxes[name] = Box(id=str(made["id"]), nets=set(joined), port=port)
        self.call("container.start", name=f"c{name}")

    def some_box(self, data: st.DataObject) -> tuple[str, Box]:
        name = data.draw(st.sampled_from(sorted(self.boxes)))
        return name, self.boxes[name]

    @precondition(lambda self: self.boxes and self.nets)
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        name, box = self.some_box(data)
        net = data.draw(st.sampled_from(sorted(self.nets)))
        params = {"network": f"n{net}", "container": f"c{name}"}
        if net in box.nets:
            return self.refused("conflict", "network.connect", **params)
        self.call("network.connect", **params)
        box.nets.add(net)
        return None

    @precondition(lambda self: any(box.nets for box in self.boxes.values()))
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, box in self.boxes.items() if box.nets)))
        net = data.draw(st.sampled_from(sorted(self.boxes[name].nets)))
        self.call("network.disconnect", network=f"n{net}", container=f"c{name}")
        self.boxes[name].nets.discard(net)

    @precondition(lambda self: self.boxes)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        name, box = self.some_box(data)
        self.call("container.stop", name=f"c{name}", timeout_s=5)
        box.runs = False

    @precondition(lambda self: self.boxes)
    @rule(data=st.data(), verb=st.sampled_from(["start", "restart"]))
    def start(self, data: st.DataObject, verb: str) -> None:
        name, box = self.some_box(data)
        self.call(f"container.{verb}", name=f"c{name}")
        box.runs = True

    @precondition(lambda self: any(box.runs for box in self.boxes.values()))
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, box in self.boxes.items() if box.runs)))
        self.call("container.kill", name=f"c{name}")
        self.call("container.wait", name=f"c{name}")
        self.boxes[name].runs = False

    @precondition(lambda self: self.boxes)
    @rule(data=st.data())
    def rm(self, data: st.DataObject) -> None:
        name, _ = self.some_box(data)
        self.call("container.rm", name=f"c{name}", force=True)
        del self.boxes[name]

    # --- faults -------------------------------------------------------------------------------

    @rule()
    def the_agent_is_killed(self) -> None:
        self.agent.kill()
        self.agent.start()

    @precondition(lambda self: any(box.runs and box.nets for box in self.boxes.values()))
    @rule(data=st.data(), what=st.sampled_from(DAMAGE))
    def damage(self, data: st.DataObject, what: str) -> None:
        """Somebody breaks something of ours; the settling that follows waits for its repair."""
        up = sorted(name for name, box in self.boxes.items() if box.runs and box.nets)
        box = self.boxes[data.draw(st.sampled_from(up))]
        inside = look_inside(self.agent, box.id)
        link = min(inside.addresses)
        enter = ("nsenter", f"--net={self.agent.run_dir / 'netns' / box.id}", "--")
        peers = self.agent.space.run("ip", "-o", "link", "show", "type", "veth").stdout
        veth = peers.splitlines()[0].split()[1].partition("@")[0]
        bridges = self.agent.space.run("ip", "-o", "link", "show", "type", "bridge").stdout
        bridge = bridges.splitlines()[0].split()[1].rstrip(":")
        commands = {
            "ruleset": ("nft", "flush", "ruleset"),
            "bridge": ("ip", "link", "delete", bridge),
            "veth": ("ip", "link", "delete", veth),
            "bridge down": ("ip", "link", "set", bridge, "down"),
            "inner address": (*enter, "ip", "address", "flush", "dev", link),
            "inner route": (*enter, "ip", "route", "flush", "dev", link),
            "inner link": (*enter, "ip", "link", "set", link, "down"),
        }
        self.agent.space.run(*commands[what])

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def the_kernel_is_as_the_model_says(self) -> None:
        if not hasattr(self, "nets"):
            return
        deadline = time.monotonic() + SETTLE_S
        while problems := self.problems():
            if time.monotonic() > deadline:
                raise AssertionError("\n".join(problems) + self.agent.log_tail())
            time.sleep(LOOK_S)

    def problems(self) -> list[str]:
        seen = look(self.agent)
        up = {name: box for name, box in self.boxes.items() if box.runs}
        found = [
            f"bridges {seen.bridges}"
            for _ in [0]
            if len(seen.bridges) != len(self.nets) + 1 or not all(seen.bridges.values())
        ]
        if seen.sandboxes != {box.id for box in up.values()}:
            found.append(f"sandboxes {sorted(seen.sandboxes)}")
            return found
        if seen.veths != sum(len(box.nets) for box in up.values()):
            found.append(f"{seen.veths} veths on bridges")
        for name, box in up.items():
            found += [f"c{name}: {words}" for words in self.wrong_inside(box)]
        return found + self.wrong_ports(seen.ports, up)

    def wrong_inside(self, box: Box) -> list[str]:
        inside = look_inside(self.agent, box.id)
        box.addresses = {text for each in inside.addresses.values() for text in each}
        wanted = sorted(subnet for net in box.nets for subnet in self.nets[net].subnets)
        found = sorted(str(ip_interface(text).network) for text in box.addresses)
        wrong = [f"addresses in {found}, not in {wanted}"] if found != wanted else []
        for version in (4, 6):
            ways_out = {
                subnet
                for net in box.nets
                if not self.nets[net].internal
                for subnet in self.nets[net].subnets
                if family(subnet) == version
            }
            link = inside.defaults.get(version, "")
            if bool(link) != bool(ways_out):
                wrong.append(f"default route of IPv{version}: {link or 'none'}")
        return wrong

    def wrong_ports(self, ports: dict[tuple[str, str, int], str], up: dict[str, Box]) -> list[str]:
        outward = {
            box.port: box
            for box in up.values()
            if box.port and any(not self.nets[net].internal for net in box.nets)
        }
        wrong = [f"port {port}" for port in {key[2] for key in ports} ^ outward.keys()]
        for (_, _, port), address in ports.items():
            own = outward[port].addresses if port in outward else set()
            if address not in {str(ip_interface(text).ip) for text in own}:
                wrong.append(f"port {port} leads to {address}, not to one of {sorted(own)}")
        return wrong

    @invariant()
    def addresses_are_given_once(self) -> None:
        all_given = [
            text
            for box in getattr(self, "boxes", {}).values()
            if box.runs
            for text in box.addresses
        ]
        assert len(all_given) == len(set(all_given))
        for net in getattr(self, "nets", {}).values():
            gateways = {f"{ip_network(subnet)[1]}" for subnet in net.subnets}
            assert not gateways & {text.partition("/")[0] for text in all_given}

    def teardown(self) -> None:
        if hasattr(self, "nets"):
            self.agent.remove_all()
            self.agent.expect(self.before)


@pytest.mark.timeout(300 + 120 * WALKS)
def test_walks(agent: Agent) -> None:
    class Here(Walk):
        pass

    Here.agent = agent
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=WALKS or 4,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not WALKS,
            database=None,
            phases=[Phase.generate],  # to shorten a failed walk would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
