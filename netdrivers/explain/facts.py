"""What was read of the kernel for one question, without the kernel's words. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from netdrivers.contract.specs import IPAddress, IPInterface
from netdrivers.explain.errand import Tidings

NEVER: Final = -1
FORWARDING: Final = 3  # what a port of a bridge should do


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link. ``master``: the bridge it is a port of; ``port_state``: what it does as one."""

    up: bool
    mac: str = ""
    mtu_bytes: int = 1500
    master: str = ""
    port_state: int = FORWARDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where the kernel would send a packet, or why it would not.

    ``fix``: the command that removes the foreign route or rule that refuses it.
    """

    link: str = ""
    via: IPAddress | None = None
    source: IPAddress | None = None
    mtu_bytes: int = 0  # 0: that of the link
    kind: str = "unicast"
    error: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """What a namespace knows of a neighbour."""

    mac: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Untracked:
    """A foreign rule that takes packets out of tracking; ``protocol`` "", ``port`` 0: of any."""

    where: str
    fix: str
    protocol: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One namespace on the way.

    ``to``: its way to the target; ``back``: its way to the source. ``ports``: (bridge, MAC) -> the
    port behind which the bridge has it. ``listeners``: (protocol, address, port).
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    addresses: Mapping[str, frozenset[IPInterface]] = field(default_factory=dict)
    to: Route = Route()
    back: Route = Route()
    neighbours: Mapping[tuple[str, IPAddress], Neighbour] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    tracked: tuple[int, int] = (0, 0)
    listeners: frozenset[tuple[str, IPAddress, int]] = frozenset()
    has_redirect: bool = True
    untracked: tuple[Untracked, ...] = ()

    def setting(self, name: str) -> int:
        """A number below /proc/sys; ``NEVER`` where there is no such name."""
        text = self.sysctls.get(name, "")
        return int(text) if text.isdecimal() else NEVER

    def has_address(self, ip: IPAddress) -> str:
        """The link that has an address, "" for none."""
        found = (link for link, ips in self.addresses.items() if any(ip == each.ip for each in ips))
        return next(found, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the name server of the source said. ``error``: that it said nothing, or no."""

    answers: tuple[IPAddress, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One look at everything on the way. ``spaces``: by sandbox, "" for the host."""

    spaces: Mapping[str, Space]
    published: frozenset[tuple[str, str, int]] = frozenset()  # protocol, host address or "", port
    heard: Heard | None = None
    tidings: Tidings | None = None
