"""A blocking client: plain sockets, one thread, no trio (it must import fast).

A call::

    with open_sync_client("unix:///run/nodeagent/nodeagent.sock") as client:
        rows = client.call("container.ls", {"all": True})            # list of dicts
        view = client.call_as(list[ContainerView], "container.inspect", {"names": ["web"]})

A stream::

    with client.stream("container.logs", {"name": "web", "follow": True}) as stream:
        for item in stream:                                           # dicts
            print(item["data"])
        stream.result()                                               # raises RpcError

An interactive one (attach, exec, image.load)::

    with client.stream("container.exec", {..., "stdin": True}) as stream:
        result = stream.interact(on_item, stdin_fd=0, wakes={signal_fd: on_signal})

``interact`` waits for the socket, the input and any number of further descriptors at once.
Callbacks may use ``stream.resize``, ``stream.send_input``, ``stream.cancel`` and also
``client.call`` of another method. Errors of calls are raised as ``RpcError``; a missing or lost
agent as ``ConnectionLost``, which is one. Ctrl-C (KeyboardInterrupt) may be raised anywhere;
leaving the ``with`` block of a stream cancels the call.
"""

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar

from nodeagent.rpc import streams
from nodeagent.rpc.address import TcpAddress, parse_host
from nodeagent.rpc.errors import ConnectionLost, ProtocolError
from nodeagent.rpc.protocol import (
    Notify,
    Protocol,
    Response,
    build_notify,
    build_request,
    read_args,
    read_result,
)

if TYPE_CHECKING:
    from msgspec import Raw

T = TypeVar("T")

CONNECT_S: Final = 20.0  # by TCP, TLS included
_CHUNK_BYTES: Final = 64 << 10
_READABLE: Final = select.POLLIN | select.POLLHUP | select.POLLERR
# No limit of the client's own: it trusts its agent, and lists may be long.
_MAX_FRAME_BYTES: Final = 1 << 30


@contextmanager
def open_sync_client(host: str, environ: Mapping[str, str] | None = None) -> Iterator["SyncClient"]:
    """Connect to the agent at ``unix:///PATH`` or ``tcp://HOST:PORT``; closed at the end.

    Args:
        environ: where the certificate for TCP is; None: the process's own.

    Raises:
        ConnectionLost: no agent listens there, or we may not speak to it.
        ValueError: not an address.
    """
    where = parse_host(host)
    try:
        if isinstance(where, str):
            sock = _connect_unix(where)
        else:
            sock = _connect_tls(where, os.environ if environ is None else environ)
    except OSError as exc:
        raise ConnectionLost(
            f"cannot connect to the agent at {host}: {exc.strerror or exc}; is it running?",
            host=host,
        ) from exc
    with sock:
        yield SyncClient(sock)


def _connect_unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


def _connect_tls(where: TcpAddress, environ: Mapping[str, str]) -> socket.socket:
    from nodeagent.rpc.tls import find_files, open_context  # 10 ms that the unix socket saves

    context = open_context(find_files(environ))
    raw = socket.create_connection((where.host, where.port), timeout=CONNECT_S)
    try:
        made = context.wrap_socket(raw, server_hostname=where.host)
    except BaseException:
        raw.close()
        raise
    made.settimeout(None)
    return made


class SyncClient:
    """One connection; calls may be made while a stream is open, also from its callbacks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._protocol = Protocol(max_frame_bytes=_MAX_FRAME_BYTES)
        self._next_id = 0
        self._open: dict[int, SyncStream] = {}

    def fileno(self) -> int:
        """Descriptor of the connection, for poll."""
        return self._sock.fileno()

    def call(self, method: str, params: object = None) -> object:
        """Make a call and wait for its result as plain dicts, lists, strings and numbers.

        Raises:
            RpcError: the agent answered with an error, or went away.
        """
        return self.call_as(object, method, params)

    def call_as(self, kind: type[T], method: str, params: object = None) -> T:
        """Make a call and wait for its result as a value of this type.

        Raises:
            RpcError: the agent answered with an error, or went away.
        """
        with self.stream(method, params) as stream:
            return stream.result_as(kind)

    def stream(self, method: str, params: object = None) -> "SyncStream":
        """Begin a call with items or input; to be used in a ``with`` block.

        Raises:
            ConnectionLost: the agent went away.
        """
        self._next_id += 1
        window = params.get("window", 0) if isinstance(params, Mapping) else 0
        window = getattr(params, "window", window)
        stream = SyncStream(self, self._next_id, window=window)
        self._open[self._next_id] = stream
        self._send(build_request(self._next_id, method, params))
        return stream

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as exc:
            raise ConnectionLost(f"the connection to the agent is lost: {exc.strerror}") from exc

    def _receive(self) -> None:
        """Wait for bytes and hand what they mean to the streams.

        Raises:
            ConnectionLost: the agent went away, or does not speak the protocol.
        """
        try:
            data = self._sock.recv(_CHUNK_BYTES)
            events = list(self._protocol.receive(data))
        except OSError as exc:
            raise ConnectionLost(f"the connection to the agent is lost: {exc.strerror}") from exc
        except ProtocolError as exc:
            raise ConnectionLost(f"the agent does not speak msgpack-rpc: {exc}") from exc
        if not data:
            raise ConnectionLost("the agent closed the connection")
        for event in events:
            self._dispatch(event)

    def _dispatch(self, event: object) -> None:
        if isinstance(event, Response):
            stream = self._open.pop(event.id, None)
            if stream is not None:
                stream._answer = event
        elif isinstance(event, Notify) and event.method == streams.ITEM:
            item = read_args(event.args, streams.Item)
            if item is not None and item.id in self._open:
                self._open[item.id]._items.append(item.item)
        elif isinstance(event, Notify) and event.method == streams.CREDIT:
            credit = read_args(event.args, streams.Credit)
            if credit is not None and credit.id in self._open:
                self._open[credit.id]._credit_bytes += credit.count


class SyncStream:
    """A running call: its items, its input, and at the end its result."""

    def __init__(self, client: SyncClient, call_id: int, *, window: int) -> None:
        self._client = client
        self._id = call_id
        self._acks = streams.AckCounter(window)
        self._items: deque[Raw] = deque()
        self._answer: Response | None = None
        self._credit_bytes = streams.INPUT_CREDIT_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._answer is None and self._client._open.pop(self._id, None) is not None:
            try:
                self.cancel()
            except ConnectionLost:
                return  # whoever is interested has been told by the call that failed

    def __iter__(self) -> Iterator[object]:
        """Give items as they come, until the call ends; errors are told by ``result``."""
        return self.items_as(object)

    def items_as(self, kind: type[T]) -> Iterator[T]:
        """Give items as values of this type, until the call ends."""
        while self._wait(lambda: bool(self._items)):
            yield self._take(kind)

    def result(self) -> object:
        """Wait for the end; items not read by then are dropped.

        Raises:
            RpcError: the call failed.
        """
        return self.result_as(object)

    def result_as(self, kind: type[T]) -> T:
        """Wait for the end, as ``result``, and give a value of this type.

        Raises:
            RpcError: the call failed.
        """
        for _ in self:
            pass
        answer = self._answer
        if answer is None:
            raise ConnectionLost("the agent closed the connection")
        if answer.error is not None:
            raise answer.error
        return read_result(answer.result, kind)

    def cancel(self) -> None:
        """Ask the agent to stop the call; it then ends with kind "cancelled"."""
        self._client._send(build_notify(streams.CANCEL, self._id))

    def resize(self, rows: int, columns: int) -> None:
        """Tell the size of the terminal."""
        self._client._send(build_notify(streams.RESIZE, self._id, rows, columns))

    def send_input(self, data: bytes | None) -> None:
        """Send input, waiting for credit where needed; None ends it.

        Input of a call that has ended meanwhile is dropped.
        """
        if data is None:
            self._client._send(build_notify(streams.INPUT, self._id, None))
            return
        while data and self._wait(lambda: self._credit_bytes > 0):
            piece = data[: min(self._credit_bytes, streams.PIECE_BYTES)]
            self._client._send(build_notify(streams.INPUT, self._id, piece))
            self._credit_bytes -= len(piece)
            data = data[len(piece) :]

    def interact(
        self,
        on_item: Callable[[object], None],
        *,
        stdin_fd: int | None = None,
        filter_input: Callable[[bytes], bytes | None] = bytes,
        wakes: Mapping[int, Callable[[], None]] | None = None,
    ) -> object:
        """Serve a call until it ends: items to ``on_item``, input from ``stdin_fd``.

        Args:
            on_item: called for each item, in order.
            stdin_fd: read while the call has credit for input; its end is passed on. A file, a
                pipe or a terminal; it stays in the mode it is in.
            filter_input: sees each piece of input and returns what to send instead. None ends the
                interaction at once (the detach keys): ``interact`` returns None and leaving
                the ``with`` block cancels the call.
            wakes: further descriptors and what to call when one is readable, for instance the
                pipe of ``signal.set_wakeup_fd``; the callback must read it empty.

        Raises:
            RpcError: the call failed.
        """
        loop = _Interaction(self, on_item, stdin_fd, filter_input, dict(wakes or {}))
        return self.result() if loop.run() else None

    def _take(self, kind: type[T]) -> T:
        item = read_result(self._items.popleft(), kind)
        count = self._acks.use()
        if count and self._answer is None:
            self._client._send(build_notify(streams.ACK, self._id, count))
        return item

    def _wait(self, is_there: Callable[[], bool]) -> bool:
        """Receive until the condition holds; False if the call ended before."""
        while not is_there():
            if self._answer is not None:
                return False
            self._client._receive()
        return True


class _Interaction:
    """The loop of ``SyncStream.interact``."""

    def __init__(
        self,
        stream: SyncStream,
        on_item: Callable[[object], None],
        stdin_fd: int | None,
        filter_input: Callable[[bytes], bytes | None],
        wakes: dict[int, Callable[[], None]],
    ) -> None:
        self._stream = stream
        self._on_item = on_item
        self._stdin_fd = stdin_fd
        self._filter_input = filter_input
        self._wakes = wakes

    def run(self) -> bool:
        """Return True when the call has ended, False when the filter ended the interaction."""
        stream = self._stream
        while True:
            # Items first: a callback may have received some while it made a call of its own.
            while stream._items:
                self._on_item(stream._take(object))
            if stream._answer is not None:
                return True
            if not self._step(self._poll()):
                return False

    def _poll(self) -> set[int]:
        # poll, not epoll: input may be a regular file, which epoll refuses.
        poll = select.poll()
        for fd in (self._stream._client.fileno(), *self._wakes):
            poll.register(fd, select.POLLIN)
        if self._stdin_fd is not None and self._stream._credit_bytes > 0:
            poll.register(self._stdin_fd, select.POLLIN)
        return {fd for fd, mask in poll.poll() if mask & _READABLE}

    def _step(self, ready: set[int]) -> bool:
        if self._stream._client.fileno() in ready:
            self._stream._client._receive()
        for fd in ready & self._wakes.keys():
            self._wakes[fd]()
        return self._stdin_fd not in ready or self._pass_input(self._stdin_fd)

    def _pass_input(self, fd: int | None) -> bool:
        """Pass a piece of input on; False if the filter wants an end."""
        if fd is None or self._stream._answer is not None:
            return True
        data = os.read(fd, min(streams.PIECE_BYTES, max(1, self._stream._credit_bytes)))
        if not data:
            self._stdin_fd = None
            self._stream.send_input(None)
            return True
        changed = self._filter_input(data)
        if changed is None:
            return False
        self._stream.send_input(changed)
        return True
