"""What a WireGuard device should be, and the steps to it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from netdrivers.contract.encryption import PeerSpec, PeerStatus
from netdrivers.contract.specs import IPAddress
from netdrivers.encryption.keys import address_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer as the device has it: packets come from and go to its one address inside."""

    key: str
    host: IPAddress
    port: int
    address: IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as wanted."""

    private: bytes
    port: int
    peers: Mapping[str, Peer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A device as it is. ``peers``: by key, None for one that is not as we make them."""

    key: str  # public
    port: int
    peers: Mapping[str, Peer | None] = field(default_factory=dict)
    status: Mapping[str, PeerStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What to set; nothing of it is what the device has."""

    private: bytes | None = None
    port: int | None = None
    put: tuple[Peer, ...] = ()
    drop: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.private or self.port is not None or self.put or self.drop)


def build_peers(specs: Mapping[str, PeerSpec], own_key: str) -> dict[str, Peer]:
    """Peers by key; a host is none of its own."""
    return {
        each.key: Peer(key=each.key, host=each.host, port=each.port, address=address_of(each.key))
        for each in specs.values()
        if each.key != own_key
    }


def build_specs(seen: Seen) -> dict[str, PeerSpec]:
    """The peers that a device has, as somebody once wanted them."""
    return {
        key: PeerSpec(key=key, host=each.host, port=each.port)
        for key, each in seen.peers.items()
        if each is not None
    }


def diff(seen: Seen, want: Device, own_key: str) -> Steps:
    """The steps from what is to what should be.

    Where a peer was last heard from is the device's to know: an endpoint that roamed is put back
    only with a change of what we were told.
    """
    return Steps(
        private=want.private if seen.key != own_key else None,
        port=want.port if seen.port != want.port else None,
        put=tuple(each for key, each in want.peers.items() if seen.peers.get(key) != each),
        drop=tuple(key for key in seen.peers if key not in want.peers),
    )
