"""Kernel objects of overlays, as frozen values; what such an object promises: ``objects``."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Key = tuple[str, ...]
EVERYBODY = "00:00:00:00:00:00"  # where frames for all, for many and for nobody known go


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """A VXLAN link on a bridge of the agent's namespace, up.

    It learns nothing, and answers ARP and ND from its neighbour entries. ``sealed``: its packets
    are sent and received in the sealed namespace.
    """

    name: str
    owner: str
    bridge: str
    vni: int
    local: IPv4Address | IPv6Address
    port: int
    mtu_bytes: int
    sealed: bool
    up: bool = True

    @property
    def key(self) -> Key:
        return ("link", "", self.name)

    @property
    def rank(self) -> int:
        return 4

    @property
    def provides(self) -> tuple[Key, ...]:
        return (self.key,)

    @property
    def within(self) -> Key | None:
        return None  # a bridge that goes leaves its ports


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbEntry:
    """Frames to a MAC address leave a VXLAN link for a host."""

    link: str
    mac: str
    vtep: IPv4Address | IPv6Address
    owner: str

    @property
    def key(self) -> Key:
        where = (str(self.vtep),) if self.mac == EVERYBODY else ()
        return ("fdb", self.link, self.mac, *where)

    @property
    def rank(self) -> int:
        return 6

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return ("link", "", self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An address that a VXLAN link answers for, and the MAC address that has it."""

    link: str
    ip: IPv4Address | IPv6Address
    mac: str
    owner: str

    @property
    def key(self) -> Key:
        return ("neighbour", self.link, str(self.ip))

    @property
    def rank(self) -> int:
        return 7

    @property
    def provides(self) -> tuple[Key, ...]:
        return ()

    @property
    def within(self) -> Key | None:
        return ("link", "", self.link)
