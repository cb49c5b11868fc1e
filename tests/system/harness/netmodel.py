"""What networks were asked for, and so what must be in the kernel, the names and inspect. Pure.

The wanted is text, a line a thing, as ``observer.read_lines`` says what is there: equal sets of
lines mean that all is as asked. It is written from what users are promised, and not from the
drivers, which it is to judge.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network

PORT = 80


@dataclass(slots=True, kw_only=True)
class Net:
    """One network; ``id`` is what the agent called it."""

    name: str
    subnets: list[str]
    internal: bool = False
    id: str = ""

    @property
    def bridge(self) -> str:
        return f"br-{self.id[:12]}"

    def has(self, version: int) -> bool:
        return any(ip_network(each).version == version for each in self.subnets)


@dataclass(slots=True, kw_only=True)
class End:
    """A container on a network. What was left to the agent is "" until it is learnt, once."""

    net: Net
    interface: str
    aliases: list[str] = field(default_factory=list)
    priority: int = 0
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    id: str = ""

    def address(self, version: int) -> str:
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(slots=True, kw_only=True)
class Box:
    """One container; ``port`` of 127.0.0.1 leads to its port 80, 0 = none does."""

    name: str
    id: str
    port: int = 0
    runs: bool = False
    ends: dict[str, End] = field(default_factory=dict)  # by network

    def free_interface(self) -> str:
        used = {each.interface for each in self.ends.values()}
        return next(f"eth{n}" for n in range(9) if f"eth{n}" not in used)

    def ordered(self) -> list[End]:
        return sorted(
            self.ends.values(), key=lambda each: (-each.priority, each.net.internal, each.interface)
        )

    def way_out(self, version: int) -> End | None:
        """The end that has the default route, and to which published ports lead."""
        outward = (each for each in self.ordered() if not each.net.internal)
        return next((each for each in outward if each.net.has(version)), None)

    def names_on(self, end: End) -> list[str]:
        return list(dict.fromkeys([self.name, *end.aliases, self.id[:12]]))


@dataclass(slots=True)
class Model:
    """All that was asked for."""

    nets: dict[str, Net] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)

    def up(self) -> list[Box]:
        return [each for each in self.boxes.values() if each.runs]

    def lines(self) -> set[str]:
        """All that must be there."""
        found = {line for net in self.nets.values() for line in _network(net)}
        for box in self.up():
            found |= {*_container(box), *_published(box), *self._answers(box)}
        versions = [4, 6]
        outward = [net for net in self.nets.values() if not net.internal]
        guarded = [v for v in versions if any(net.has(v) for net in outward)]
        return found | {f"set guarded ipv{version}" for version in guarded}

    def questions(self, asker: Box) -> list[str]:
        """Names that the asker's networks know, alone and with the network's name."""
        found: dict[str, None] = {}
        for net in asker.ends:
            for box in self.boxes.values():
                if net in box.ends:
                    for name in box.names_on(box.ends[net]):
                        found |= {name: None, f"{name}.{net}": None}
        return list(found)

    def _answers(self, asker: Box) -> Iterator[str]:
        for name in self.questions(asker):
            alone, _, net = name.partition(".")
            bearers = [
                box.ends[each]
                for each in asker.ends
                if net in {"", each}
                for box in self.up()
                if each in box.ends and alone in box.names_on(box.ends[each])
            ]
            for version, qtype in ((4, "A"), (6, "AAAA")):
                plain = {each.address(version).partition("/")[0] for each in bearers} - {""}
                said = sorted(plain) if bearers else ["<SERVFAIL>"]
                yield f"{asker.name} asks {name} {qtype}: {' '.join(said)}"


def _gateways(net: Net) -> Iterator[tuple[int, str, str]]:
    for subnet in map(ip_network, net.subnets):
        yield subnet.version, str(subnet[1]), str(subnet)


def _network(net: Net) -> Iterator[str]:
    yield f"bridge {net.bridge} up"
    yield f"set bridges {net.bridge}"
    yield f"set same {net.bridge} {net.bridge}"
    if net.internal:
        yield f"set internal {net.bridge}"
    for version, gateway, subnet in _gateways(net):
        yield f"address {net.bridge} {gateway}/{subnet.partition('/')[2]}"
        yield f"route {subnet} dev {net.bridge}"
        yield f"set private{version} {gateway}"
        if not net.internal:
            yield f"set hidden ipv{version} {net.bridge}"


def _container(box: Box) -> Iterator[str]:
    yield f"sandbox {box.id}"
    for end in box.ends.values():
        inside = f"in {box.name}"
        yield f"veth ve{end.id[:13]} on {end.net.bridge} up"
        yield f"{inside} link {end.interface} {end.mac} up"
        for version, gateway, subnet in _gateways(end.net):
            yield f"{inside} address {end.interface} {end.address(version)}"
            yield f"{inside} route {subnet} dev {end.interface}"
            if box.way_out(version) is end:
                yield f"{inside} route default via {gateway} dev {end.interface}"
        yield _inspected(box, end)


def _inspected(box: Box, end: End) -> str:
    leads = box.port and box.way_out(4) is end
    ports = f"127.0.0.1:{box.port}->{PORT}/tcp" if leads else "none"
    names = " ".join(box.names_on(end))
    addresses = f"{end.interface} {end.mac} {end.ipv4} {end.ipv6 or 'none'}"
    return f"inspect {end.net.name}: {box.name} {addresses} {ports} as {names}"


def _published(box: Box) -> Iterator[str]:
    if box.port:
        yield f"held 127.0.0.1:{box.port}"
    end = box.way_out(4)
    if not box.port or end is None:
        return
    address = str(ip_interface(end.ipv4).ip)
    yield f"set publish4 127.0.0.1 tcp {box.port} : {address} {PORT}"
    yield f"set hairpin4 {address} {address}"
    for each in box.ends.values():
        if not each.net.internal:
            yield f"set direct4 {each.net.bridge} {address}"
