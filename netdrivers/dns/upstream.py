"""One question to one upstream: over UDP, and over TCP where that is not enough.

Each query goes out of a fresh socket that is bound to a random port by the kernel, connected to
its upstream, and bears a random id, so a stranger must guess both, and forge the sender's address.
Who sends what does not answer the question is guessing: after a few of those only TCP is believed.
"""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from secrets import randbits
from typing import Final, Literal

import trio

from netdrivers.dns import message, namespace
from netdrivers.dns.message import Query
from netdrivers.errors import Refused

RESEND_S: Final = 1.3  # a lost datagram is sent again twice within the deadline
MAX_GUESSES: Final = 8  # no honest upstream sends even one

Outcome = Literal["answered", "failed", "unreachable", "timeout", "outrun"]
Address = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of asking. ``guesses``: datagrams that were no answer to the question."""

    reply: bytes | None
    guesses: int = 0

    @property
    def outcome(self) -> Outcome:
        """Whether it knows, says that it does not, or could not be asked."""
        if self.reply is None:
            return "unreachable"
        return "answered" if message.has_verdict(self.reply) else "failed"


async def ask(upstream: str, port: int, query: Query, netns: Path | None) -> Heard:
    """Ask one upstream; how long that may take is up to the caller."""
    sent = message.build_upstream(query, randbits(16))
    guesses = 0
    try:
        family, address = _address(upstream, port, netns)
        reply, guesses = await _ask_udp(family, address, sent, query, netns)
        if reply is None or message.is_truncated(reply):
            reply = await _ask_tcp(family, address, sent, query, netns) or reply
    except (OSError, ValueError, Refused):
        # unreachable, refused, no descriptor, no such address: not this one
        return Heard(reply=None, guesses=guesses)
    return Heard(reply=reply, guesses=guesses)


def _address(upstream: str, port: int, netns: Path | None) -> tuple[int, Address]:
    """Socket family and address of ``9.9.9.9``, ``::1`` or ``fe80::1%eth0``."""
    bare, _, zone = upstream.partition("%")
    if ip_address(bare).version == 4:
        return socket.AF_INET, (bare, port)
    return socket.AF_INET6, (bare, port, 0, _scope(zone, netns))


def _scope(zone: str, netns: Path | None) -> int:
    if not zone or zone.isdigit():
        return int(zone or 0)
    return namespace.index_of(netns, zone)


async def _ask_udp(
    family: int, address: Address, sent: bytes, query: Query, netns: Path | None
) -> tuple[bytes | None, int]:
    """The reply and how many others came; None instead of it if they were too many."""
    guesses = 0
    with trio.socket.from_stdlib_socket(
        namespace.make_socket(netns, family, socket.SOCK_DGRAM)
    ) as sock:
        await sock.connect(address)
        while True:
            await sock.send(sent)
            with trio.move_on_after(RESEND_S):
                while guesses < MAX_GUESSES:
                    reply = await sock.recv(message.MAX_BYTES)
                    if message.is_reply_to(reply, sent, query.question):
                        return reply, guesses
                    guesses += 1
                return None, guesses


async def _ask_tcp(
    family: int, address: Address, sent: bytes, query: Query, netns: Path | None
) -> bytes | None:
    """The whole reply; None if the upstream hangs up without one."""
    with trio.socket.from_stdlib_socket(
        namespace.make_socket(netns, family, socket.SOCK_STREAM)
    ) as sock:
        frames = message.Frames()
        try:
            await sock.connect(address)
            stream = trio.SocketStream(sock)
            await stream.send_all(message.build_frame(sent))
            while chunk := await stream.receive_some():
                for reply in frames.feed(bytes(chunk)):
                    if message.is_reply_to(reply, sent, query.question):
                        return reply
        except (OSError, trio.BrokenResourceError):
            return None  # the cut reply is still worth something
    return None
