"""Kernel objects as frozen values: what a driver asks for and what a snapshot finds.

Every object has a ``key`` (what it is the only one of), an ``owner`` (the network or sandbox whose
scope it belongs to), a ``rank`` (what must be there before it), ``provides`` (keys that come and go
with it) and ``within`` (a provided key whose end is also its own end). ``ns`` is "" for the agent's
own network namespace, else the id of a sandbox.
"""

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

from netdrivers.plan.tunnels import FdbEntry, Neighbour, Vxlan

Key = tuple[str, ...]
Family = Literal["ipv4", "ipv6"]
LoneEnd = Literal["", "host", "sandbox"]
ParentKind = Literal["", "vlan", "dummy"]
Part = str | int | IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Our nft table of the agent's namespace: chains, rules and empty sets, but no element."""

    owner: str = ""

    @property
    def key(self) -> Key:
        return ("table",)

    @property
    def rank(self) -> int:
        return 0

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key,)

    @property
    def within(self) -> Key | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """Packets of this family may pass through the agent's namespace."""

    family: Family
    owner: str = ""

    @property
    def key(self) -> Key:
        return ("forwarding", self.family)

    @property
    def rank(self) -> int:
        return 1

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A pinned network namespace with its loopback up."""

    id: str
    loopback_up: bool = True

    @property
    def owner(self) -> str:
        return self.id

    @property
    def key(self) -> Key:
        return ("sandbox", self.id)

    @property
    def rank(self) -> int:
        return 2

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key,)

    @property
    def within(self) -> Key | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A bridge in the agent's namespace, up. ``ipv6``: it makes a link-local address."""

    name: str
    owner: str
    mac: str
    mtu_bytes: int = 1500
    ipv6: bool = False
    up: bool = True

    @property
    def key(self) -> Key:
        return ("link", "", self.name)

    @property
    def rank(self) -> int:
        return 3

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key,)

    @property
    def within(self) -> Key | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth:
    """A pair: ``name`` on the bridge in the agent's namespace, ``interface`` in the sandbox."""

    name: str
    owner: str  # the sandbox
    endpoint: str
    bridge: str
    interface: str
    mac: str
    mtu_bytes: int = 1500
    ipv6: bool = False
    hairpin: bool = False  # the bridge may send back through the port a packet came by
    apart: bool = False  # opens no connection to another such one of its bridge
    up: bool = True  # both ends
    shut: bool = False  # the bridge passes nothing through the port
    lone: LoneEnd = ""  # all that is left of the pair, or all that is where it belongs

    @property
    def key(self) -> Key:
        return ("link", "", self.name)

    @property
    def rank(self) -> int:
        return 5

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key, ("link", self.owner, self.interface))

    @property
    def within(self) -> Key | None:
        return None  # the host end goes by hand: a namespace's end is asynchronous


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The link that macvlans hang on.

    Without a ``kind`` it is the operator's: looked at, never made, changed or removed. A vlan on
    ``lower`` or a dummy is made where no link has the name; one of the operator's is used as it is.
    """

    name: str
    owner: str
    kind: ParentKind = ""
    lower: str = ""
    vlan_id: int = 0
    up: bool = True

    @property
    def key(self) -> Key:
        return ("parent", self.name)

    @property
    def rank(self) -> int:
        return 2

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key, ("link", "", self.name))

    @property
    def within(self) -> Key | None:
        return ("link", "", self.lower) if self.lower else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan:
    """A macvlan of ``parent``: in a sandbox, or the host's own one beside those."""

    ns: str
    name: str
    owner: str  # the sandbox, or the network
    mark: str  # the endpoint, or the network
    parent: str
    mode: str
    mac: str
    mtu_bytes: int = 0  # 0: as the parent
    ipv6: bool = False
    up: bool = True

    @property
    def key(self) -> Key:
        return ("link", self.ns, self.name)

    @property
    def rank(self) -> int:
        return 3

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key,)

    @property
    def within(self) -> Key | None:
        return ("link", "", self.parent)  # not the sandbox: a namespace's end is asynchronous


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """One value below /proc/sys, dots for slashes; an interface name may hold no dot.

    ``optional``: a kernel that has no such name needs no such value.
    """

    ns: str
    name: str
    value: str
    owner: str
    link: str = ""
    optional: bool = False

    @property
    def key(self) -> Key:
        return ("sysctl", self.ns, self.name)

    @property
    def rank(self) -> int:
        return 4 if self.link else 3

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        if self.link:
            return ("link", self.ns, self.link)
        return ("sandbox", self.ns) if self.ns else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address on one of our links. ``dad``: the kernel asks the wire whether it is free.

    ``routed``: the way to its subnet, which the kernel makes with it, is there.
    """

    ns: str
    link: str
    ip: IPv4Interface | IPv6Interface
    owner: str
    dad: bool = False
    routed: bool = True

    @property
    def key(self) -> Key:
        return ("address", self.ns, self.link, str(self.ip))

    @property
    def rank(self) -> int:
        return 6

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return ("link", self.ns, self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of ours in the main table; on the link itself without ``via``."""

    ns: str
    to: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None
    link: str
    owner: str

    @property
    def key(self) -> Key:
        return ("route", self.ns, str(self.to))

    @property
    def rank(self) -> int:
        return 7

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return ("link", self.ns, self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRedirect:
    """127.0.0.11:53 of a sandbox leads to ``port``, udp and tcp, by a table of its own."""

    ns: str
    port: int

    @property
    def owner(self) -> str:
        return self.ns

    @property
    def key(self) -> Key:
        return ("dns", self.ns)

    @property
    def rank(self) -> int:
        return 8

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return ("sandbox", self.ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a set of our table, or of a map when it has a ``value``."""

    set: str
    match: tuple[Part, ...]
    value: tuple[Part, ...] = ()
    owner: str

    @property
    def key(self) -> Key:
        return ("element", self.set, *map(str, self.match))

    @property
    def rank(self) -> int:
        return 9

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return ("table",)


KernelObject = (
    Table
    | Forwarding
    | Sandbox
    | Parent
    | Bridge
    | Veth
    | Macvlan
    | Sysctl
    | Address
    | Route
    | DnsRedirect
    | Element
    | Vxlan
    | FdbEntry
    | Neighbour
)
