"""Asking upstreams: all at once, first good answer wins, under a deadline and a bound.

Each query goes out of a fresh socket that is bound to a random port by the kernel, connected to
its upstream, and bears a random id, so a stranger must guess both.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from secrets import randbits
from typing import Final

import trio

from netdrivers.contract import DnsView
from netdrivers.dns import message, namespace
from netdrivers.dns.message import Query, Rcode

DEADLINE_S: Final = 4.0  # below the 5 s after which libc asks again
RESEND_S: Final = 1.3  # a lost datagram is sent again twice within the deadline
MAX_UPSTREAMS: Final = 3  # what resolv.conf may hold
MAX_FLIGHTS: Final = 512  # questions under way, all sandboxes together
MAX_FLIGHTS_PER_SANDBOX: Final = 128
OWN_ADDRESS: Final = "127.0.0.11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where to ask for one sandbox; ``netns`` None = from where the agent is."""

    upstreams: tuple[str, ...]
    netns: Path | None


def route_of(view: DnsView, netns: Path) -> Route:
    """The way out of a view. From inside, our own address would be a loop, so it is left out."""
    inside = view.upstreams_in_sandbox
    usable = [each for each in view.upstreams if not (inside and each == OWN_ADDRESS)]
    return Route(upstreams=tuple(usable[:MAX_UPSTREAMS]), netns=netns if inside else None)


class Forwarder:
    """Asks upstreams. Over its bounds it refuses at once instead of queueing."""

    def __init__(self, *, port: int = 53, deadline_s: float = DEADLINE_S) -> None:
        self._port = port
        self._deadline_s = deadline_s
        self._flights: dict[str, int] = {}
        self._total = 0

    async def ask(self, sandbox_id: str, query: Query, route: Route, *, max_bytes: int) -> bytes:
        """The reply for the asker: an upstream's, SERVFAIL, or REFUSED when too much is asked.

        Cancel: sockets are closed, nothing else was held.
        """
        if not self._has_room(sandbox_id):
            return message.build_error(query, Rcode.REFUSED)
        with self._flight(sandbox_id):
            reply = await self._race(query, route)
        if reply is None:
            return message.build_error(query, Rcode.SERVFAIL)
        return message.adapt_reply(reply, query, max_bytes)

    def _has_room(self, sandbox_id: str) -> bool:
        mine = self._flights.get(sandbox_id, 0)
        return self._total < MAX_FLIGHTS and mine < MAX_FLIGHTS_PER_SANDBOX

    @contextmanager
    def _flight(self, sandbox_id: str) -> Iterator[None]:
        self._total += 1
        self._flights[sandbox_id] = self._flights.get(sandbox_id, 0) + 1
        try:
            yield
        finally:
            self._total -= 1
            self._flights[sandbox_id] -= 1
            if not self._flights[sandbox_id]:
                del self._flights[sandbox_id]

    async def _race(self, query: Query, route: Route) -> bytes | None:
        """First reply that knows; None if there is none before the deadline."""
        won: list[bytes] = []
        with trio.move_on_after(self._deadline_s):
            async with trio.open_nursery() as nursery:

                async def run(upstream: str) -> None:
                    reply = await self._try(upstream, query, route.netns)
                    if reply is not None and message.has_verdict(reply):
                        won.append(reply)
                        nursery.cancel_scope.cancel()

                for upstream in route.upstreams:
                    nursery.start_soon(run, upstream)
        return won[0] if won else None

    async def _try(self, upstream: str, query: Query, netns: Path | None) -> bytes | None:
        """One upstream: UDP, then TCP if the reply was cut. None if it fails in any way."""
        sent = message.build_upstream(query, randbits(16))
        try:
            family, address = _address(upstream, self._port)
            reply = await _ask_udp(family, address, sent, query, netns)
            if message.is_truncated(reply):
                reply = await _ask_tcp(family, address, sent, query, netns) or reply
        except (OSError, ValueError):
            return None  # unreachable, refused, no descriptor, no such address: not this one
        return reply


Address = tuple[str, int] | tuple[str, int, int, int]


def _address(upstream: str, port: int) -> tuple[int, Address]:
    """Socket family and address of ``9.9.9.9``, ``::1`` or ``fe80::1%eth0``."""
    bare, _, zone = upstream.partition("%")
    if ip_address(bare).version == 4:
        return socket.AF_INET, (bare, port)
    scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone) if zone else 0
    return socket.AF_INET6, (bare, port, 0, scope)


async def _ask_udp(
    family: int, address: Address, sent: bytes, query: Query, netns: Path | None
) -> bytes:
    with trio.socket.from_stdlib_socket(
        namespace.make_socket(netns, family, socket.SOCK_DGRAM)
    ) as sock:
        await sock.connect(address)
        while True:
            await sock.send(sent)
            with trio.move_on_after(RESEND_S):
                while True:
                    reply = await sock.recv(message.MAX_BYTES)
                    if message.is_reply_to(reply, sent, query.question):
                        return reply


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
