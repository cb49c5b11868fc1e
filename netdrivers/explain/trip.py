"""The way a packet should take, by what is wanted: which endpoints, networks and links. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from netdrivers.bridge import link_name
from netdrivers.contract.explain import Asked
from netdrivers.contract.specs import Desired, EndpointSpec, IPAddress, NetworkSpec, PublishedPort
from netdrivers.explain.station import Mark
from netdrivers.macvlan import PARENT

BRIDGE, MACVLAN = "bridge", "macvlan"
HOST: Final = "this host"
OUTSIDE: Final = "outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """An endpoint of ours with its network."""

    spec: EndpointSpec
    net: NetworkSpec

    @property
    def veth(self) -> str:
        """Its link in the agent's namespace, "" where the network has none."""
        return f"ve{self.spec.id[:13]}" if self.net.driver == BRIDGE else ""

    @property
    def bridge(self) -> str:
        """The bridge of its network, "" where it has none."""
        return link_name(self.net) if self.net.driver == BRIDGE else ""

    @property
    def parent(self) -> str:
        """The link of this host that a macvlan hangs on, "" for other networks."""
        return self.net.options.get(PARENT, "") if self.net.driver == MACVLAN else ""

    def ip(self, version: int) -> IPAddress | None:
        """Its address of that family."""
        return next((each.ip for each in self.spec.addresses if each.version == version), None)

    def gateway(self, version: int) -> IPAddress | None:
        """The host's address on its network."""
        found = (each.gateway for each in self.net.subnets if each.subnet.version == version)
        return next(found, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """From ``source`` to ``ip``: what stands between.

    ``aim`` is the address as asked for; ``ip`` and ``port`` are where a published port leads.
    ``target``: the sandbox that has it, "" for this host, None for somebody else.
    """

    asked: Asked
    aim: IPAddress
    ip: IPAddress
    port: int
    target: str | None
    near: End | None = None
    far: End | None = None
    published: PublishedPort | None = None

    @property
    def version(self) -> int:
        return self.aim.version

    @property
    def is_local(self) -> bool:
        """It never leaves the namespace it starts in."""
        return self.asked.source == self.target and self.published is None

    @property
    def is_direct(self) -> bool:
        """Both ends are on one network: the host only bridges, or is not on the way at all."""
        if self.is_from_wire:
            return True
        if self.published is not None or self.near is None or self.is_local:
            return False
        return self._same_net or self.near.net.driver != BRIDGE

    @property
    def is_from_wire(self) -> bool:
        """An outsider's packet comes to a macvlan by its wire, and passes this host's rules by."""
        return self.asked.source is None and self.far is not None and bool(self.far.parent)

    @property
    def _same_net(self) -> bool:
        return self.near is not None and self.far is not None and self.near.net == self.far.net

    @property
    def by_host(self) -> bool:
        """The agent's own namespace routes, sends or receives it."""
        return not self.is_local and not self.is_direct

    @property
    def source_ip(self) -> IPAddress | None:
        """The source's address, as far as it is known beforehand."""
        return self.near.ip(self.version) if self.near else self.asked.source_ip

    @property
    def back_ip(self) -> IPAddress | None:
        """Whom the target answers: a container that comes by a published port is masqueraded."""
        if self.far and self.near and not self._same_net:
            return self.far.gateway(self.version)
        return self.source_ip

    @property
    def home(self) -> frozenset[Mark]:
        """Where it shows that all went well."""
        if self.asked.protocol == "udp":  # nobody must answer a datagram
            return frozenset({("taken", f"{self.target}", False), *self.accepted})
        return self.accepted

    @property
    def accepted(self) -> frozenset[Mark]:
        """Where an answer of the program is seen."""
        return frozenset({("reply", f"{self.asked.source}:", False)})

    @property
    def there(self) -> frozenset[Mark]:
        """Where it is seen that it has come to the target's own link."""
        link = self.far.spec.interface if self.far is not None else ""
        return frozenset({(self.target or "", link, False)} if link and self.target else ())

    @property
    def source_title(self) -> str:
        """The source's name, for people."""
        return self.title(self.asked.source)

    def title(self, sandbox: str | None) -> str:
        """A namespace's name, for people."""
        if not sandbox:
            return OUTSIDE if sandbox is None else HOST
        return self.asked.titles.get(sandbox, sandbox[:12])

    @property
    def sandboxes(self) -> list[str]:
        """The namespaces on the way, in order."""
        home = "" if self.by_host or self.near or self.is_from_wire else None
        ends = [self.asked.source, home, self.target]
        return list(dict.fromkeys(each for each in ends if each is not None))


def build_trip(asked: Asked, desired: Desired, host_ips: Iterable[IPAddress]) -> Trip:
    """Find the ends of the way to the first address that the source has a family for."""
    ends = [
        End(spec=spec, net=desired.networks[spec.network_id]) for spec in desired.endpoints.values()
    ]
    mine = [end for end in ends if end.spec.sandbox_id == asked.source]
    aim = _choose(asked, mine)
    at_home = aim in set(host_ips) or (asked.source == "" and aim.is_loopback)
    published = _find_published(asked, aim, ends) if at_home else None
    ip = published.container_ip if published else aim
    far = next((end for end in ends if end.ip(ip.version) == ip), None)
    near = _leads(mine, aim, far)
    if asked.source and (aim.is_loopback or (far is not None and far in mine)):
        target: str | None = asked.source
    elif far is not None:
        target = far.spec.sandbox_id
    else:
        target = "" if at_home else None
    return Trip(
        asked=asked,
        aim=aim,
        ip=ip,
        port=published.container_port if published else asked.port,
        target=target,
        near=near,
        far=far,
        published=published,
    )


def _choose(asked: Asked, mine: list[End]) -> IPAddress:
    versions = {each.version for end in mine for each in end.spec.addresses}
    fitting = (ip for ip in asked.addresses if not mine or ip.version in versions)
    return next(fitting, asked.addresses[0])


def _find_published(asked: Asked, aim: IPAddress, ends: list[End]) -> PublishedPort | None:
    for port in _ports(ends):
        same = (port.protocol, port.host_port) == (asked.protocol, asked.port)
        if same and (port.host_ip == aim or (_any(port) and port.host_ip.version == aim.version)):
            return port
    return None


def _ports(ends: list[End]) -> Iterator[PublishedPort]:
    # the one for this very address first, as in the kernel
    ports = [port for end in ends for port in end.spec.ports]
    yield from sorted(ports, key=_any)


def _any(port: PublishedPort) -> bool:
    return port.host_ip.is_unspecified


def _leads(mine: list[End], aim: IPAddress, far: End | None) -> End | None:
    """The endpoint a packet should leave by: on the target's network, else the default route's."""
    for end in mine:
        if any(aim in each.subnet for each in end.net.subnets) or (far and far.net == end.net):
            return end
    with_default = (
        end for end in mine if any(ip.version == aim.version for ip in end.spec.default_gateway)
    )
    return next(with_default, mine[0] if mine else None)
