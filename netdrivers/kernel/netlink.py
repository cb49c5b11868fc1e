"""A netlink socket: many requests in one write, answers matched by sequence number.

Calls block, but for the kernel's own locks only: rtnetlink and nfnetlink do their work inside the
sender's system call, so every answer is in the receive queue when ``send`` returns. That also
makes a batch whole for a ``kill -9``: a signal is looked at when the call returns. It is why the
sockets are not polled by the loop: a ``send`` that waits 20 ms for the removal of somebody's link
would hold the loop, so all of it runs in the engine's one thread.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from netdrivers.errors import Refused, Unavailable
from netdrivers.kernel.codec import ACK, DUMP, HEADER, Request, parse_attrs

ERROR, DONE, OVERRUN = 2, 3, 4
DUMP_INTERRUPTED: Final = 0x10
ACK_TLVS: Final = 0x200
CAPPED: Final = 0x100
SOL_NETLINK, CAP_ACK, EXT_ACK, STRICT_CHECK = 270, 10, 11, 12
SO_RCVBUFFORCE: Final = 33
RECEIVE_BYTES: Final = 1 << 20
CHUNK: Final = 128  # messages a write: their answers must fit the receive buffer
DUMP_TRIES: Final = 5
ANSWER_S: Final = 5


@dataclass(slots=True)
class Reply:
    """What came back for one request: 0 or an errno, the kernel's words, messages of a get."""

    errno: int = 0
    text: str = ""
    messages: list[tuple[int, bytes]] = field(default_factory=list)
    interrupted: bool = False
    ended: bool = False


class Netlink:
    """One socket. Not for two tasks inside one call, which cannot happen as nothing awaits."""

    def __init__(self, protocol: int) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._seq = 0
        self._sock.bind((0, 0))
        for option in (CAP_ACK, EXT_ACK, STRICT_CHECK):
            self._sock.setsockopt(SOL_NETLINK, option, 1)
        limit = struct.pack("=qq", ANSWER_S, 0)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Send all, in chunks; one reply per request, failed ones included."""
        replies: list[Reply] = []
        for at in range(0, len(requests), CHUNK):
            replies += self.exchange(requests[at : at + CHUNK])
        return replies

    def dump(self, request: Request) -> list[tuple[int, bytes]]:
        """All messages of a dump; asked again when the kernel's list changed under it."""
        for _ in range(DUMP_TRIES):
            (reply,) = self.exchange([request])
            if reply.errno:
                raise Refused("read from the kernel", errno=reply.errno, reason=reply.text)
            if not reply.interrupted:
                return reply.messages
        raise Unavailable("the kernel's tables change faster than they can be read")

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """Send all in one write and collect the answers of those that ask for one."""
        first = self._seq + 1
        replies = [Reply(ended=not _answered(request)) for request in requests]
        self._sock.send(b"".join(self._pack(request) for request in requests))
        while not all(reply.ended for reply in replies):
            for kind, flags, seq, body in split(self._receive()):
                if first <= seq < first + len(replies):
                    _take(replies[seq - first], kind, flags, body)
        return replies

    def _pack(self, request: Request) -> bytes:
        self._seq += 1
        size = HEADER.size + len(request.body)
        head = HEADER.pack(size, request.type, request.flags, self._seq, 0)
        return head + request.body + bytes(-size & 3)

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(1 << 17)
        except OSError as exc:
            raise Unavailable("the kernel does not answer on netlink", errno=exc.errno) from exc


def _answered(request: Request) -> bool:
    return bool(request.flags & ACK) or request.flags & DUMP == DUMP


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: type, flags, sequence number, body."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, flags, seq, _ = HEADER.unpack_from(data, at)
        if size < HEADER.size:
            return
        yield kind, flags, seq, data[at + HEADER.size : at + size]
        at += size + 3 & ~3


def _take(reply: Reply, kind: int, flags: int, body: bytes) -> None:
    reply.interrupted |= bool(flags & DUMP_INTERRUPTED)
    if kind == ERROR:
        reply.errno, reply.text, reply.ended = *_error(flags, body), True
    elif kind == DONE:
        reply.ended = True
    else:
        reply.messages.append((kind, body))


def _error(flags: int, body: bytes) -> tuple[int, str]:
    errno = -int(struct.unpack_from("=i", body)[0])
    words = os.strerror(errno)
    if flags & ACK_TLVS:
        skip = 4 + HEADER.size
        if not flags & CAPPED:
            skip += (HEADER.unpack_from(body, 4)[0] + 3 & ~3) - HEADER.size
        said = parse_attrs(body, skip).get(1, b"").rstrip(b"\0").decode(errors="replace")
        words = f"{words}: {said}" if said else words
    return errno, words
