"""What should exist: networks, endpoints, sandboxes. Plain, validated data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

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
class RemoteEndpoint:
    """An endpoint of an overlay on another host. ``vtep``: where that host is reached."""

    mac: str
    addresses: tuple[IPAddress, ...]
    vtep: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlaySpec:
    """What joins the parts of a network on several hosts.

    ``vtep``: this host's own address in the tunnel's underlay. ``sealed``: the tunnel's packets
    leave and arrive in the sealed namespace only, whose one way out is encrypted.
    """

    vni: int
    vtep: IPAddress
    port: int = 4789
    sealed: bool = True
    multicast: bool = False  # also what is for all or many goes to every host, once for each
    remotes: tuple[RemoteEndpoint, ...] = ()


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
    overlay: OverlaySpec | None = None


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
