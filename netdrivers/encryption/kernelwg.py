"""The kernel's WireGuard in our terms. Pure."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address
from typing import Final

from netdrivers.contract.encryption import PeerStatus
from netdrivers.encryption.device import Peer, Seen, Steps
from netdrivers.encryption.keys import parse_key
from netdrivers.kernel import wgcodec
from netdrivers.kernel.codec import Request
from netdrivers.kernel.wgcodec import WgDevice, WgPeer

PEERS: Final = 200  # of one message: an attribute's length has 16 bits


def build_requests(family: int, name: str, steps: Steps) -> list[Request]:
    """What makes the steps, in messages of a size that fits."""
    first = wgcodec.set_device(family, name, private=steps.private, port=steps.port)
    peers = list(_peers(steps))
    parts = [b"".join(peers[at : at + PEERS]) for at in range(0, len(peers), PEERS)]
    return [first, *(wgcodec.set_device(family, name, peers=part) for part in parts)]


def _peers(steps: Steps) -> Iterator[bytes]:
    for key in steps.drop:
        yield wgcodec.drop_peer(parse_key(key))
    for peer in steps.put:
        yield wgcodec.put_peer(parse_key(peer.key), peer.host, peer.port, peer.address)


def build_seen(parts: Sequence[WgDevice]) -> Seen:
    """The device out of the messages it came in. A peer may be cut in two by them."""
    found = [peer for part in parts for peer in part.peers]
    return Seen(
        key=next((part.key for part in parts if part.key), ""),
        port=next((part.port for part in parts if part.port), 0),
        peers={peer.key: _as_ours(peer) for peer in reversed(found)},
        status={
            peer.key: PeerStatus(
                key=peer.key,
                handshake_s=peer.handshake_s,
                rx_bytes=peer.rx_bytes,
                tx_bytes=peer.tx_bytes,
            )
            for peer in reversed(found)
        },
    )


def _as_ours(peer: WgPeer) -> Peer | None:
    if peer.host is None or len(peer.allowed) != 1:
        return None
    address, length = peer.allowed[0]
    if length != 128 or not isinstance(address, IPv6Address):
        return None
    return Peer(key=peer.key, host=peer.host, port=peer.port, address=address)
