"""The text that wireguard-go is configured with. Pure.

Source: wireguard.com/xplatform, "Cross-platform Userspace Implementation: configuration protocol".
"""

from base64 import b64encode
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from netdrivers.contract.encryption import PeerStatus
from netdrivers.contract.specs import IPAddress
from netdrivers.encryption.device import Peer, Seen, Steps
from netdrivers.encryption.keys import parse_key, public_key
from netdrivers.errors import Refused

GET: Final = b"get=1\n\n"


def build_set(steps: Steps) -> bytes:
    """A request that makes the steps."""
    return "".join(f"{line}\n" for line in ("set=1", *_lines(steps), "")).encode()


def _lines(steps: Steps) -> Iterator[str]:
    if steps.private is not None:
        yield f"private_key={steps.private.hex()}"
    if steps.port is not None:
        yield f"listen_port={steps.port}"
    for key in steps.drop:
        yield f"public_key={parse_key(key).hex()}"
        yield "remove=true"
    for peer in steps.put:
        yield f"public_key={parse_key(peer.key).hex()}"
        yield f"endpoint={endpoint_text(peer.host, peer.port)}"
        yield "replace_allowed_ips=true"
        yield f"allowed_ip={peer.address}/128"


def endpoint_text(host: IPAddress, port: int) -> str:
    """``192.0.2.1:51820`` or ``[2001:db8::1]:51820``."""
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"


def check_answer(answer: bytes) -> None:
    """Raises Refused: the errno is not 0, or there is none."""
    if b"errno=0\n" not in answer:
        raise Refused(
            "wireguard-go refused its configuration", answer=answer.decode(errors="replace")
        )


def parse_get(answer: bytes) -> Seen:
    """What a device says of itself. Raises Refused: it says an error."""
    check_answer(answer)
    private, port = "", 0
    peers: list[dict[str, list[str]]] = []
    for line in answer.decode().splitlines():
        name, _, value = line.partition("=")
        if name == "public_key":
            peers.append({})
        if peers:
            peers[-1].setdefault(name, []).append(value)
        elif name == "private_key":
            private = value
        elif name == "listen_port":
            port = int(value)
    found = [_peer(each) for each in peers]
    return Seen(
        key=public_key(bytes.fromhex(private)) if private.strip("0") else "",
        port=port,
        peers={status.key: peer for peer, status in found},
        status={status.key: status for _, status in found},
    )


def _peer(fields: dict[str, list[str]]) -> tuple[Peer | None, PeerStatus]:
    def one(name: str) -> str:
        return fields.get(name, [""])[0]

    key = b64encode(bytes.fromhex(one("public_key"))).decode()
    seconds = int(one("last_handshake_time_sec") or 0)
    status = PeerStatus(
        key=key,
        handshake_s=seconds + int(one("last_handshake_time_nsec") or 0) / 1e9,
        rx_bytes=int(one("rx_bytes") or 0),
        tx_bytes=int(one("tx_bytes") or 0),
    )
    host, _, port = one("endpoint").rpartition(":")
    address = lone_address(fields.get("allowed_ip", []))
    if not host or address is None:
        return None, status
    return Peer(key=key, host=ip_address(host.strip("[]")), port=int(port), address=address), status


def lone_address(allowed: list[str]) -> IPv6Address | None:
    """The one address of a peer; None if it may have others."""
    nets = [ip_network(each) for each in allowed]
    if len(nets) == 1 and isinstance(nets[0], IPv6Network) and nets[0].prefixlen == 128:
        return nets[0].network_address
    return None
