"""A client for trio: calls side by side on one connection, streams, input.

::

    async with open_client("unix:///run/nodeagent/nodeagent.sock") as client:
        rows = await client.call("container.ls", {"all": True})
        async with client.stream("container.logs", {"name": "web", "follow": True}) as stream:
            async for item in stream: ...
            await stream.result()

Errors of calls are raised as ``RpcError``; a missing or lost agent as ``ConnectionLost``.
"""

import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar

import trio

from nodeagent.rpc import streams
from nodeagent.rpc.address import TcpAddress, parse_host
from nodeagent.rpc.errors import ConnectionLost, ProtocolError
from nodeagent.rpc.outbox import Outbox
from nodeagent.rpc.protocol import (
    Event,
    Notify,
    Protocol,
    Response,
    build_notify,
    build_request,
    read_args,
    read_result,
)
from nodeagent.rpc.tls import TlsFiles, find_files, open_context

if TYPE_CHECKING:
    from msgspec import Raw

T = TypeVar("T")

_CHUNK_BYTES: Final = 64 << 10
_MAX_FRAME_BYTES: Final = 1 << 30  # the client trusts its agent, and lists may be long


@asynccontextmanager
async def open_client(host: str, files: TlsFiles | None = None) -> AsyncIterator["Client"]:
    """Connect to the agent at ``unix:///PATH`` or ``tcp://HOST:PORT``; closed at the end.

    Args:
        files: our certificate, for TCP; None: where the environment says.

    Raises:
        ConnectionLost: no agent listens there, or we may not speak to it.
        ValueError: not an address.
    """
    where = parse_host(host)
    try:
        if isinstance(where, str):
            stream: trio.abc.Stream = await trio.open_unix_socket(where)
        else:
            stream = await _open_tls(where, files or find_files(os.environ))
    except (OSError, trio.BrokenResourceError) as exc:
        raise ConnectionLost(f"cannot connect to the agent at {host}: {exc}", host=host) from exc
    async with open_client_on(stream) as client:
        yield client


async def _open_tls(where: TcpAddress, files: TlsFiles) -> trio.abc.Stream:
    context = open_context(files)
    raw = await trio.open_tcp_stream(where.host, where.port)
    tls = trio.SSLStream(raw, context, server_hostname=where.host, https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


@asynccontextmanager
async def open_client_on(stream: trio.abc.Stream) -> AsyncIterator["Client"]:
    """Speak to an agent at the other end of ``stream``, which is closed in the end."""
    client = Client(stream)
    failure: Exception | None = None
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
        except Exception as exc:  # noqa: BLE001 - carried out of the nursery, which would wrap it
            failure = exc
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Client:
    """One connection. Calls may be made from many tasks at once."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._outbox = Outbox(stream)
        self._next_id = 0
        self._open: dict[int, ClientStream] = {}
        self._lost: ConnectionLost | None = None

    async def call(self, method: str, params: object = None) -> object:
        """Make a call; its result as plain dicts, lists, strings and numbers.

        Raises:
            RpcError: the agent answered with an error, or went away.
        Cancel: the agent is asked to cancel the call.
        """
        return await self.call_as(object, method, params)

    async def call_as(self, kind: type[T], method: str, params: object = None) -> T:
        """Make a call; its result as a value of this type.

        Raises:
            RpcError: the agent answered with an error, or went away.
        Cancel: the agent is asked to cancel the call.
        """
        async with self.stream(method, params) as stream:
            return await stream.result_as(kind)

    def stream(self, method: str, params: object = None) -> "ClientStream":
        """Make a call with items or input; it begins at ``async with``."""
        self._next_id += 1
        return ClientStream(self, self._next_id, method, params)

    async def run(self) -> None:
        """Serve the connection until it ends; all open calls then fail."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            reason = await self._read()
            self._lose(reason)
            nursery.cancel_scope.cancel()

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            await self._outbox.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._lose("the connection to the agent is lost")
            scope.cancel()

    async def _read(self) -> str:
        """Take what comes; return why it ended."""
        protocol = Protocol(max_frame_bytes=_MAX_FRAME_BYTES)
        try:
            while data := await self._stream.receive_some(_CHUNK_BYTES):
                for event in protocol.receive(bytes(data)):
                    self._take(event)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return "the connection to the agent is lost"
        except ProtocolError as exc:
            return f"the agent does not speak msgpack-rpc: {exc}"
        return "the agent closed the connection"

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = ConnectionLost(reason)
        for stream in self._open.values():
            stream._touch()

    def _take(self, event: Event) -> None:
        if isinstance(event, Response):
            stream = self._open.pop(event.id, None)
            if stream is not None:
                stream._answer = event
                stream._touch()
        elif isinstance(event, Notify) and event.method == streams.ITEM:
            item = read_args(event.args, streams.Item)
            if item is not None and (stream := self._open.get(item.id)):
                stream._items.append(item.item)
                stream._touch()
        elif isinstance(event, Notify) and event.method == streams.CREDIT:
            credit = read_args(event.args, streams.Credit)
            if credit is not None and (stream := self._open.get(credit.id)):
                stream._credit_bytes += credit.count
                stream._touch()


class ClientStream:
    """A running call: its items, its input, and at the end its result.

    Items wait in memory until they are read: give the method a ``window`` where the agent may
    be much faster than the reader.
    """

    def __init__(self, client: Client, call_id: int, method: str, params: object) -> None:
        window = params.get("window", 0) if isinstance(params, Mapping) else 0
        self._client = client
        self._id = call_id
        self._request = build_request(call_id, method, params)
        self._acks = streams.AckCounter(getattr(params, "window", window))
        self._items: deque[Raw] = deque()
        self._answer: Response | None = None
        self._credit_bytes = streams.INPUT_CREDIT_BYTES
        self._changed = trio.Event()

    async def __aenter__(self) -> Self:
        if self._client._lost is not None:
            raise ConnectionLost(self._client._lost.message)
        self._client._open[self._id] = self
        await self._client._outbox.put(self._request)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._client._open.pop(self._id, None) is not None and self._client._lost is None:
            self._client._outbox.put_nowait(build_notify(streams.CANCEL, self._id))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        """Wait for the next item; the iteration ends with the call, well or not."""
        item = await self.receive_as(object)
        if item is None:
            raise StopAsyncIteration
        return item

    async def receive_as(self, kind: type[T]) -> T | None:
        """Wait for the next item as a value of this type; None when the call has ended.

        Raises:
            ConnectionLost: the agent went away.
        """
        while not self._items:
            if self._answer is not None:
                return None
            await self._wait_change()
        item = read_result(self._items.popleft(), kind)
        count = self._acks.use()
        if count and self._answer is None:
            await self._client._outbox.put(build_notify(streams.ACK, self._id, count))
        return item

    async def result(self) -> object:
        """Wait for the end; items not read by then are dropped.

        Raises:
            RpcError: the call failed.
        """
        return await self.result_as(object)

    async def result_as(self, kind: type[T]) -> T:
        """Wait for the end, as ``result``, and give a value of this type.

        Raises:
            RpcError: the call failed.
        """
        while self._answer is None:
            if self._items:
                await self.receive_as(object)
            else:
                await self._wait_change()
        if self._answer.error is not None:
            raise self._answer.error
        return read_result(self._answer.result, kind)

    async def cancel(self) -> None:
        """Ask the agent to stop the call; it then ends with kind "cancelled"."""
        await self._client._outbox.put(build_notify(streams.CANCEL, self._id))

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the size of the terminal."""
        await self._client._outbox.put(build_notify(streams.RESIZE, self._id, rows, columns))

    async def send_input(self, data: bytes | None) -> None:
        """Send input, waiting for credit where needed; None ends it.

        Input of a call that has ended meanwhile is dropped.
        """
        if data is None:
            await self._client._outbox.put(build_notify(streams.INPUT, self._id, None))
            return
        while data and self._answer is None:
            if self._credit_bytes <= 0:
                await self._wait_change()
                continue
            piece = data[: min(self._credit_bytes, streams.PIECE_BYTES)]
            data = data[len(piece) :]
            self._credit_bytes -= len(piece)
            await self._client._outbox.put(build_notify(streams.INPUT, self._id, piece))

    async def _wait_change(self) -> None:
        if self._client._lost is not None:
            raise ConnectionLost(self._client._lost.message)
        await self._changed.wait()

    def _touch(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
