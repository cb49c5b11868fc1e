"""What a network is, what a driver says of it, and what the engine and the name server offer.

Specs are plain, validated data. A driver turns specs into kernel objects and never sees the
kernel; the engine makes the kernel agree. ``control`` sees this file and nothing below it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import ClassVar, Literal, NoReturn, Protocol

from netdrivers.plan.objects import KernelObject
from netdrivers.plan.ops import Op

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSpec:
    """One subnet of a network and the gateway address in it.

    ``host``: the host's own address in it, where the gateway is somebody else (the auxiliary
    address of that name).
    """

    subnet: IPNetwork
    gateway: IPAddress
    host: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """One network as wanted on this host."""

    id: str  # 64 hex
    name: str
    driver: str
    subnets: tuple[SubnetSpec, ...] = ()
    internal: bool = False
    mtu_bytes: int = 1500
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A host port that leads to a container's port. ``host_ip`` may be the unspecified address."""

    protocol: Literal["tcp", "udp", "sctp"]
    host_ip: IPAddress
    host_port: int
    container_ip: IPAddress
    container_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """One sandbox's attachment to one network."""

    id: str  # 64 hex
    network_id: str
    sandbox_id: str
    interface: str  # name inside the sandbox: eth0, eth1, …
    mac: str  # "02:42:…"
    addresses: tuple[IPInterface, ...]
    default_gateway: tuple[IPAddress, ...] = ()  # only on the endpoint that owns the default route
    ports: tuple[PublishedPort, ...] = ()
    # addresses of the sandbox, on any of its interfaces, that published ports lead to
    served: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One network namespace of ours, named ``id`` under ``RUN/netns``.

    ``dns_port``: where 127.0.0.11 is really served inside (udp and tcp); 0 = no name server, so no
    redirect of port 53.
    """

    id: str
    dns_port: int = 0
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All that should exist in the kernel for this agent."""

    networks: Mapping[str, NetworkSpec] = field(default_factory=dict)
    sandboxes: Mapping[str, SandboxSpec] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointSpec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an apply looks at and may change; ``None`` = everything that bears our mark."""

    networks: frozenset[str] = frozenset()
    sandboxes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """Where a route of the host's leads; ``link`` "" for one over several links, or none."""

    to: IPNetwork
    link: str = ""

    def __str__(self) -> str:
        return f"{self.to} dev {self.link}" if self.link else str(self.to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an apply did. ``ops`` empty = the kernel already agreed."""

    ops: tuple[Op, ...]
    # in words, what keeps a part of it from working: a parent link that is gone, a doubled address
    conflicts: tuple[str, ...] = ()
    failed: Mapping[Op, str] = field(default_factory=dict)  # why; of a mend, also in conflicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """From where to where, for ``explain``.

    ``source``: a sandbox, "" for this host (and containers in its namespace), None for outside.
    ``name``: what the source would ask its name server for, who answers from ``table``; "" = the
    target is known by ``addresses``, of which the first is tried. With a name they are used where
    the table has none, and ``no_name`` says why that is. ``titles``: names of sandboxes for people.
    ``port`` 0: whether an echo request is answered.
    """

    source: str | None
    source_name: str
    source_ip: IPAddress | None = None  # of a source that is outside
    target_name: str
    name: str = ""
    table: "DnsTable | None" = None
    addresses: tuple[IPAddress, ...] = ()
    no_name: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    protocol: Literal["icmp", "tcp", "udp"] = "icmp"
    port: int = 0
    probe: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One thing on the way."""

    place: str  # name, route, neighbour, veth, bridge, rules, listener, …
    where: str  # in which namespace, in words
    what: str  # which one, in words
    state: Literal["ok", "fails", "suspect"] = "ok"
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The hops in order and the answer; ``reachable`` None: nothing in the way, but not tried."""

    reachable: bool | None
    summary: str
    hops: tuple[Hop, ...]
    notes: tuple[str, ...] = ()


class NetworkDriver(Protocol):
    """Says which kernel objects should exist. Pure: no socket, file, clock or random."""

    name: ClassVar[str]
    # unless internal, its containers are on a wire that is not ours, with addresses of that wire:
    # such a network publishes no ports, and its subnet may be that of a link of the host
    on_wire: ClassVar[bool]

    def check(self, net: NetworkSpec) -> None:
        """Refuse what this driver cannot do (Invalid names the option)."""

    def network(self, net: NetworkSpec) -> Iterable[KernelObject]:
        """Objects of the network itself, in the host's namespace."""
        ...

    def endpoint(self, net: NetworkSpec, ep: EndpointSpec) -> Iterable[KernelObject]:
        """Objects of one endpoint, in the host's namespace and in the sandbox."""
        ...


class NetworkEngine(Protocol):
    """Makes the kernel agree with ``Desired``.

    One instance per agent, bound to the namespace it was opened in; it serialises what must be
    serial and batches the rest.
    """

    async def open(self) -> None:
        """Take the namespace and probe its features. Unavailable names what is missing."""

    async def run(self) -> NoReturn:
        """Tell neighbours of new addresses, in the background of ``apply``, until cancelled.

        A neighbour who has one of them, too, is a conflict of the next apply without a scope.
        """
        ...

    async def make_sandbox(self, sandbox_id: str) -> Path:
        """Create and pin the namespace (lo up) if it is not there; return its path."""
        ...

    async def apply(self, desired: Desired, scope: Scope | None, *, mend: bool = False) -> Report:
        """Snapshot, diff, apply and verify what is in ``scope``.

        A sandbox in scope brings its endpoints and its ports. What is marked, in scope and not in
        ``desired`` is removed, sandboxes included. A second apply makes zero ops.

        Raises:
            Conflict: an unmarked object is in the way. Refused: the kernel said no.
            Missing: a network's parent link is not there (option, parent); with a scope only.
        Cancel: what this call added is taken back. To ``mend`` leaves out what cannot be.
        """
        ...

    async def plan(self, desired: Desired, scope: Scope | None) -> Sequence[Op]:
        """What ``apply`` would do, without doing it."""
        ...

    async def explain(self, desired: Desired, asked: Asked) -> Explanation:
        """Say at which hop a packet dies, and by which rule or missing thing. Changes nothing.

        Raises:
            Missing: the source has no namespace. Unavailable: the probe could not be run.
        """
        ...

    def objects(self, desired: Desired, scope: Scope | None) -> Sequence[KernelObject]:
        """What should exist in ``scope``, whether it does or not; nothing is read."""

    async def look(self, desired: Desired, *, fresh: bool) -> Report:
        """What an ``apply`` of all would do; waits for no change. ``fresh``: believes no memory."""

    async def others(self) -> Mapping[str, int]:
        """Links and tables here that bear the mark of another agent, counted by its id."""

    async def wait_change(self) -> None:
        """Return once something changed here or in a sandbox, whoever did it. One waiter only."""

    async def hold_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Bind the host ports (all or none) so that conflicts show now and nobody takes them.

        Raises:
            Conflict: ``address already in use`` with fields host_ip, host_port, protocol, and
                held_ip where it is by one of ours, or pid and command where a process is found.
            Exhausted: no descriptor is left. Invalid: this host does not have the address.
        """

    def pick_port(self, protocol: str, host_ip: IPAddress) -> int:
        """Bind and hold a free port of the ephemeral range on ``host_ip``."""
        ...

    def release_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Let the host ports go. Unknown ones are ignored."""

    def is_bound(self, port: PublishedPort) -> bool:
        """Whether a socket of ours has the host port; never where the kernel has no SCTP."""
        ...

    async def host_routes(self) -> list[HostRoute]:
        """Routes of every table, and addresses, that are none of ours, for IPAM to avoid."""
        ...

    async def uplink_mtu(self) -> int:
        """MTU of the link of the default route; 0 where there is none."""
        ...

    def counters(self, sandbox_id: str) -> Mapping[str, Mapping[str, int]]:
        """By link of the sandbox ("" = here): {rx,tx}_{bytes,packets,errors,dropped}."""
        ...


# --- names ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsHost:
    """One endpoint as names know it.

    ``name``: what its addresses are called in reverse, and what SRV leads to. ``services``: ports
    by what SRV asks for, ``_http._tcp`` or ``_80._tcp`` (lower case). One that is not ready is
    only answered to who asks for ``all.NAME``.
    """

    name: str
    addresses: tuple[IPAddress, ...]
    is_ready: bool = True
    services: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsZone:
    """Names of one network: lower-case name -> who bears it; reverse: address -> canonical name."""

    name: str  # network name: "web.demo" resolves like "web"
    names: Mapping[str, tuple[DnsHost, ...]]
    reverse: Mapping[IPAddress, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsView:
    """What one sandbox may ask: its networks in order of preference, and where the rest goes."""

    zones: tuple[str, ...]  # network ids
    upstreams: tuple[str, ...] = ()  # "9.9.9.9", "::1", "127.0.0.53"; asked in a race
    upstreams_in_sandbox: bool = False  # dial from the sandbox (given by --dns) or from the host


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsTable:
    """The whole truth about names on this host; swapped whole, never changed in place.

    A zone or view that did not change is the same object in the next table: what was prepared of
    it is kept.
    """

    zones: Mapping[str, DnsZone] = field(default_factory=dict)  # by network id
    views: Mapping[str, DnsView] = field(default_factory=dict)  # by sandbox id


# (upper bounds in s, cumulative counts, one more than bounds: the last is all, sum of s)
Latency = tuple[Sequence[float], Sequence[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCounts:
    """What came of asking one upstream, and how long its answers took.

    Outcomes: answered (it knows, also that there is no such name), failed (it says that it does
    not know), unreachable, timeout, outrun (another one answered first).
    """

    outcomes: Mapping[str, int]
    latency: Latency


class NameServer(Protocol):
    """127.0.0.11 of every sandbox, served by this process's loop."""

    async def run(self) -> None:
        """Serve until cancelled. Sockets may be opened before or while it runs."""

    def open(self, sandbox_id: str, netns: Path, port: int) -> int:
        """Bind udp and tcp 127.0.0.11 in the sandbox, on ``port`` if free (0 = any); return it."""
        ...

    def close(self, sandbox_id: str) -> None:
        """Stop serving the sandbox. Idempotent."""

    def served(self) -> Collection[str]:
        """Sandboxes that have been opened and not closed."""

    def set_table(self, table: DnsTable) -> None:
        """Swap the table; the next query sees it."""

    def statistics(self) -> Mapping[tuple[str, str], int]:
        """Answers by (result, source).

        Results: noerror, nodata, nxdomain, servfail, refused, formerr. Sources: local, forwarded,
        cache (heard from an upstream before), stale (the same, past its time; upstreams failed).
        """
        ...

    def latency(self) -> Latency:
        """Of all answers, forwarded ones included."""
        ...

    def upstreams(self) -> Mapping[str, UpstreamCounts]:
        """By address; ``container``: all that containers brought, ``other``: beyond a bound."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """What was turned away or lost since the start.

        By reason: ``questions`` and ``sandbox`` (too many under way, in all and of one container),
        ``streams`` (too many connections of one), ``send`` (the container did not take the
        answer), ``guesses`` (datagrams to us that answer nothing we asked).
        """
        ...

    def cache_entries(self) -> int:
        """Answers of upstreams that are kept now."""
        ...
