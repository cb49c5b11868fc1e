"""Ways to collectors: streams and datagrams, each send with a deadline of its own.

A stream is settled when the other side's kernel has everything; more a protocol without answers
cannot tell. A collector that went away is noticed before the next send.
"""

import errno
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

import trio

from runtime.contract.shipping import Endpoint
from runtime.errors import Unavailable

CONNECT_S: Final = 5.0  # a guess
SEND_S: Final = 30.0  # a collector that reads nothing for so long is as good as dead; a guess
SETTLE_MIN_S: Final = 0.001  # the kernel has no notice of an empty queue: asked for at this pace
SETTLE_MAX_S: Final = 0.05
RECEIVE_BYTES: Final = 4 << 10
BROKEN: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Wire(Protocol):
    """An open way; each call raises Unavailable when it is broken."""

    async def send(self, data: bytes) -> None: ...

    async def settle(self) -> None: ...

    async def receive(self) -> bytes: ...


class StreamWire:
    """A stream, in TLS or not, over one socket."""

    def __init__(
        self, endpoint: Endpoint, stream: trio.abc.Stream, sock: trio.socket.SocketType
    ) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._socket = sock

    async def send(self, data: bytes) -> None:
        self._check_open()
        with _deadline(self._endpoint, "send to", SEND_S):
            await self._stream.send_all(data)

    async def settle(self) -> None:
        """Return when nothing is under way any more."""
        pause_s = SETTLE_MIN_S
        with _deadline(self._endpoint, "send to", SEND_S):
            while _unsent(self._socket.fileno()):
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, SETTLE_MAX_S)
        self._check_open()

    async def receive(self) -> bytes:
        with _deadline(self._endpoint, "hear from", SEND_S):
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        if not data:
            raise Unavailable("hear from collector", at=self._endpoint, reason="it hung up")
        return data

    def _check_open(self) -> None:
        """What is sent to a collector that hung up would be lost without an error."""
        if self._endpoint.kind == "tls":
            return  # its goodbye is data here; the send that follows fails
        with socket.socket(fileno=os.dup(self._socket.fileno())) as raw:
            try:
                gone = not raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                gone = False
            except OSError as exc:
                raise _unavailable("send to", self._endpoint, exc) from exc
        if gone:
            raise Unavailable("send to collector", at=self._endpoint, reason="it hung up")


class DatagramWire:
    """Datagrams to one address."""

    def __init__(self, endpoint: Endpoint, sock: trio.socket.SocketType) -> None:
        self._endpoint = endpoint
        self._socket = sock

    async def send(self, data: bytes) -> None:
        with _deadline(self._endpoint, "send to", SEND_S):
            await self._socket.send(data)

    async def settle(self) -> None:
        """Nobody listens: that is known by now if it is on this host."""
        await trio.lowlevel.checkpoint()
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise Unavailable("send to collector", at=self._endpoint, errno=code)

    async def receive(self) -> bytes:
        raise Unavailable("hear from collector", at=self._endpoint, reason="it is datagrams")


def _unsent(fd: int) -> int:
    """Bytes that the other side's kernel (of a unix socket: program) does not have yet."""
    answer = fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


@contextmanager
def _deadline(endpoint: Endpoint, doing: str, within_s: float) -> Iterator[None]:
    """Every way in which it may fail is one error."""
    try:
        with trio.fail_after(within_s):
            yield
    except trio.TooSlowError as exc:
        raise Unavailable(f"{doing} collector", at=endpoint, within_s=within_s) from exc
    except BROKEN as exc:
        raise _unavailable(doing, endpoint, exc) from exc


def _unavailable(doing: str, endpoint: Endpoint, exc: BaseException) -> Unavailable:
    code = exc.errno if isinstance(exc, OSError) else None
    reason = errno.errorcode.get(code, str(exc)) if code else str(exc) or type(exc).__name__
    return Unavailable(f"{doing} collector", at=endpoint, reason=reason)


@asynccontextmanager
async def open_wire(endpoint: Endpoint) -> AsyncIterator[Wire]:
    """Connect (Unavailable)."""
    if endpoint.kind in {"udp", "unixgram"}:
        with await _datagrams(endpoint) as sock:
            yield DatagramWire(endpoint, sock)
        return
    stream = await _stream(endpoint)
    try:
        if endpoint.kind == "tls":
            yield StreamWire(endpoint, await _tls(endpoint, stream), stream.socket)
        else:
            yield StreamWire(endpoint, stream, stream.socket)
    finally:
        await trio.aclose_forcefully(stream)


async def _datagrams(endpoint: Endpoint) -> trio.socket.SocketType:
    with _deadline(endpoint, "reach", CONNECT_S):
        if endpoint.kind == "unixgram":
            family: int = socket.AF_UNIX
            address: str | tuple[object, ...] = endpoint.path
        else:
            found = await trio.socket.getaddrinfo(
                endpoint.host, endpoint.port, type=socket.SOCK_DGRAM
            )
            family, address = found[0][0], found[0][4]
        sock = trio.socket.socket(family, socket.SOCK_DGRAM)
        try:
            await sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock


async def _stream(endpoint: Endpoint) -> trio.SocketStream:
    with _deadline(endpoint, "reach", CONNECT_S):
        if endpoint.kind == "unix":
            return await trio.open_unix_socket(endpoint.path)
        return await trio.open_tcp_stream(endpoint.host, endpoint.port)


async def _tls(endpoint: Endpoint, stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
    for file in filter(None, (endpoint.ca_file, endpoint.cert_file, endpoint.key_file)):
        if not os.access(file, os.R_OK):  # ssl says that one is missing, not which
            raise Unavailable("shake hands with collector", at=endpoint, file=file, reason="ENOENT")
    with _deadline(endpoint, "shake hands with", CONNECT_S):
        context = ssl.create_default_context(cafile=endpoint.ca_file or None)
        if not endpoint.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if endpoint.cert_file:
            context.load_cert_chain(endpoint.cert_file, endpoint.key_file or None)
        wrapped = trio.SSLStream(stream, context, server_hostname=endpoint.host)
        await wrapped.do_handshake()
        return wrapped
