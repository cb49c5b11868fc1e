"""A known packet is sent to a peer the encrypted way, and the host's links are looked at.

They must see one packet for the peer's WireGuard, as long as the known one becomes when it is
encrypted, and in it nothing of what is known.

Source: wireguard.com/protocol (transport data: type 4, padded to 16 bytes, 32 bytes around).
"""

import secrets
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final, Literal

import trio

from netdrivers.contract.specs import IPAddress
from netdrivers.kernel.packetfilter import (
    INSTRUCTION,
    IPV4,
    IPV6,
    JA,
    JEQ,
    LDB,
    LDH,
    LDH_X,
    LDXMSH,
    OUTGOING,
    PACKET_BYTES,
    PROTOCOL_AT,
    RET,
    open_tap,
)

UDP: Final = 17
PORT: Final = 9  # "discard": nobody listens, and the peer says so
TOKEN_BYTES: Final = 32
LEAST_BYTES: Final = 300  # of what is known; a random number more makes the packet its own
INSIDE_BYTES: Final = 40 + 8  # headers of IPv6 and UDP
DATA: Final = b"\4\0\0\0"
HEAD_BYTES, TAG_BYTES, BLOCK_BYTES = 16, 16, 16
UDP_HEAD: Final = struct.Struct(">HHHH")
NOTHING: Final = (RET, 0, 0, 0)


def sealed_bytes(size: int) -> int:
    """Length in UDP's header of a packet of that many bytes, once it is encrypted. Pure."""
    padded = -(-(INSIDE_BYTES + size) // BLOCK_BYTES) * BLOCK_BYTES
    return 8 + HEAD_BYTES + padded + TAG_BYTES


def build_filter(port: int, length: int) -> bytes:
    """Lets UDP pass that is from our WireGuard with that length, or for the canary's port. Pure."""

    def udp(load: int, at: int) -> list[tuple[int, int, int, int]]:
        return [
            (load, 0, 0, at + 2), (JEQ, 0, 1, PORT), (RET, 0, 0, 0xFFFF),
            (load, 0, 0, at), (JEQ, 1, 0, port), NOTHING,
            (load, 0, 0, at + 4), (JEQ, 0, 1, length), (RET, 0, 0, 0xFFFF), NOTHING,
        ]  # fmt: skip

    four = [(LDB, 0, 0, 9), (JEQ, 1, 0, UDP), NOTHING, (LDXMSH, 0, 0, 0), *udp(LDH_X, 0)]
    six = [(JEQ, 1, 0, IPV6), NOTHING, (LDB, 0, 0, 6), (JEQ, 1, 0, UDP), NOTHING, *udp(LDH, 40)]
    codes = [(LDH, 0, 0, PROTOCOL_AT), (JEQ, 1, 0, IPV4), (JA, 0, 0, len(four)), *four, *six]
    return b"".join(INSTRUCTION.pack(*code) for code in codes)


@dataclass(slots=True)
class Canary:
    """One known packet. Its sockets are opened each in its own namespace."""

    port: int  # of our WireGuard
    token: bytes = field(default_factory=lambda: secrets.token_bytes(TOKEN_BYTES))
    size: int = field(default_factory=lambda: LEAST_BYTES + secrets.randbelow(500))
    tap: socket.socket | None = None
    way: socket.socket | None = None

    def listen(self) -> None:
        """In the host's namespace."""
        self.tap = open_tap(build_filter(self.port, sealed_bytes(self.size)))

    def send(self, target: IPv6Address) -> None:
        """In the sealed namespace."""
        self.way = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.way.connect((str(target), PORT))
        self.way.send((self.token * (self.size // TOKEN_BYTES + 1))[: self.size])

    async def wait_heard(self) -> None:
        """Return once the peer has said something, if it does."""
        if self.way is not None:
            await trio.lowlevel.wait_readable(self.way)

    def is_answered(self) -> bool:
        """Whether the peer has said that nobody listens there: so it has decrypted the packet."""
        if self.way is None:
            return False
        try:
            self.way.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def seen(self) -> list[bytes]:
        """Packets that have left since, from their IP headers on."""
        found: list[bytes] = []
        while self.tap is not None:
            try:
                data, (_, _, kind, *_) = self.tap.recvfrom(PACKET_BYTES)
            except BlockingIOError:
                break
            if kind == OUTGOING:
                found.append(data)
        return found

    def close(self) -> None:
        """Let go of both."""
        for each in (self.tap, self.way):
            if each is not None:
                each.close()


def judge(
    seen: Sequence[bytes], token: bytes, host: IPAddress, length: int
) -> Literal["", "sealed", "clear"]:
    """``clear``: what is known was seen; ``sealed``: it went encrypted; "": not seen. Pure."""
    if any(token in packet for packet in seen):
        return "clear"
    return "sealed" if any(_is_sealed(each, host, length) for each in seen) else ""


def _is_sealed(packet: bytes, host: IPAddress, length: int) -> bool:
    version = packet[0] >> 4
    at, target = (4 * (packet[0] & 15), packet[16:20]) if version == 4 else (40, packet[24:40])
    _, _, size, _ = UDP_HEAD.unpack_from(packet, at)
    return target == host.packed and size == length and packet[at + 8 : at + 12] == DATA
