"""The encrypted way between hosts: one WireGuard device a host, in the sealed namespace."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Literal, Protocol

from netdrivers.contract.specs import IPAddress

Backend = Literal["", "kernel", "wireguard-go"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSpec:
    """Another host. ``key``: its public key, base64; its address inside follows from that."""

    key: str
    host: IPAddress
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """What is known of a peer. ``handshake_s``: seconds since the epoch; 0 = never."""

    key: str
    handshake_s: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """VXLAN of an encrypted network, which must be seen nowhere in clear."""

    port: int
    vni: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was seen of a known packet that was sent to a peer.

    ``at_s``: on trio's clock. ``result``: ``sealed``, ``clear`` or "" = it was not seen at all.
    ``answered``: the peer has understood it.
    """

    at_s: float
    result: Literal["", "sealed", "clear"]
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionStatus:
    """How it is. ``problem``: why nothing can be sent, in words; "" = it can."""

    backend: Backend
    key: str
    address: IPv6Address | None
    port: int
    peers: Mapping[str, PeerStatus] = field(default_factory=dict)
    problem: str = ""
    restarts: int = 0  # of the child, since this agent came
    proofs: Mapping[str, Proof] = field(default_factory=dict)  # the last one by peer's key
    came_clear: Mapping[int, int] = field(default_factory=dict)  # packets by VNI: none got in
    left_clear: Mapping[int, int] = field(default_factory=dict)  # the same: a leak


class Encryption(Protocol):
    """Keeps the device as it should be. Without it sealed tunnels send nothing."""

    async def key(self) -> str:
        """This host's public key, base64. Refused: it cannot be read."""
        ...

    async def apply(self, peers: Mapping[str, PeerSpec] | None, *, mtu_bytes: int) -> None:
        """These are the peers, by key; None: not known yet, so those that the device has.

        Raises:
            Unavailable: it cannot be had on this host, and why. Refused: the key cannot be read.
        """

    async def look_for(self, hosts: Collection[IPAddress], tunnels: frozenset[Tunnel]) -> None:
        """Count packets of these networks that this host's links see in clear.

        Args:
            hosts: this host's addresses, from or to which they are.
        """

    async def status(self) -> EncryptionStatus:
        """Never raises: what is wrong is in it."""
        ...

    async def remove(self) -> None:
        """Take everything away but the key."""
