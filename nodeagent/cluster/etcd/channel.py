"""One HTTP/2 connection with many gRPC calls on it: a thin shell around h2.

One task reads, one writes; calls change h2's state and wake the writer, so nobody waits for a lock.
What a call has received and nobody has taken yet is bounded by its window: the server waits.
"""

import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from nodeagent.cluster.etcd.grpc import (
    UNAVAILABLE,
    Broken,
    Frames,
    build_frame,
    build_headers,
    parse_status,
)

CALL_WINDOW_BYTES: Final = 1 << 20  # received and not yet taken, of one call
LINK_WINDOW_BYTES: Final = 16 << 20  # the same of all; then the slowest call slows the others
READ_BYTES: Final = 1 << 16
PING_S: Final = 5.0  # a silent peer is asked whether it lives
DEAD_S: Final = 5.0  # and must answer by then


class Lost(Exception):
    """The connection ended; whether an unanswered call was carried out is not known."""


class Call:
    """One call: messages out, messages in, a status at the end."""

    def __init__(self, channel: "Channel", stream_id: int) -> None:
        self._channel = channel
        self.id = stream_id
        self._frames = Frames()
        self._data: deque[tuple[bytes, int]] = deque()
        self._messages: deque[bytes] = deque()
        self._changed = trio.Event()
        self.status: tuple[int, str] | None = None

    async def send(self, message: bytes, *, last: bool = False) -> None:
        """Send one message as the server's window allows. Raises Lost."""
        await self._channel.send(self.id, build_frame(message), last=last)

    async def receive(self) -> bytes | None:
        """The next message; None at the end, when ``status`` is set. Raises Lost."""
        while not self._messages:
            if self._data:
                data, size = self._data.popleft()
                try:
                    self._messages.extend(self._frames.feed(data))
                except Broken as exc:
                    raise Lost(str(exc)) from exc
                self._channel.grant(self.id, size)
            elif self.status is not None:
                return None
            else:
                await self._wait()
        return self._messages.popleft()

    async def _wait(self) -> None:
        if self._channel.why_lost:
            raise Lost(self._channel.why_lost)
        self._changed = trio.Event()
        await self._changed.wait()

    # --- called by the channel ---------------------------------------------------------------

    def take(self, data: bytes, size: int) -> None:
        """Data that came; ``size`` as flow control counts it."""
        self._data.append((data, size))
        self._changed.set()

    def end(self, code: int, text: str) -> None:
        """The first end counts."""
        self.status = self.status or (code, text)
        self._changed.set()

    def wake(self) -> None:
        """Look again at the connection."""
        self._changed.set()


class Channel:
    """A connection that is open; ``open_channel`` makes one."""

    def __init__(self, stream: trio.abc.Stream, authority: str) -> None:
        self._stream = stream
        self._authority = authority
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._calls: dict[int, Call] = {}
        self._written = trio.Event()
        self._window = trio.Event()
        self._heard_s = 0.0
        self._lost = trio.Event()
        self.why_lost = ""
        # here, not in the task: the first call may come before the task's first step
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: CALL_WINDOW_BYTES})
        self._h2.increment_flow_control_window(LINK_WINDOW_BYTES)

    @asynccontextmanager
    async def call(self, path: str, *, has_leader: bool = False) -> AsyncIterator[Call]:
        """A call; left early, it is cancelled at the server. Raises Lost."""
        if self.why_lost:
            raise Lost(self.why_lost)
        try:
            id_ = self._h2.get_next_available_stream_id()
            headers = build_headers(path, self._authority, has_leader=has_leader)
            self._h2.send_headers(id_, headers)
        except ProtocolError as exc:  # no stream number is left, or the server said good-bye
            self._lose(f"the connection takes no more calls: {exc}")
            raise Lost(self.why_lost) from exc
        call = self._calls[id_] = Call(self, id_)
        self._written.set()
        try:
            yield call
        finally:
            del self._calls[id_]
            if not call.status and not self.why_lost:
                self._reset(id_)

    def _reset(self, id_: int) -> None:
        try:
            self._h2.reset_stream(id_, ErrorCodes.CANCEL)
        except ProtocolError:
            return  # it ended just now
        self._written.set()

    async def send(self, id_: int, data: bytes, *, last: bool) -> None:
        """Data of a call, in pieces as both windows allow."""
        while True:
            if self.why_lost:
                raise Lost(self.why_lost)
            try:
                room = self._h2.local_flow_control_window(id_)
                size = min(room, self._h2.max_outbound_frame_size, len(data))
                if size or not data:
                    self._h2.send_data(id_, data[:size], end_stream=last and size == len(data))
            except ProtocolError as exc:
                raise Lost(f"the server ended the call: {exc}") from exc
            self._written.set()
            data = data[size:]
            if not data:
                return
            if not size:
                self._window = trio.Event()
                await self._window.wait()

    def grant(self, id_: int, size: int) -> None:
        """Let the server send that much more on one call."""
        if size and id_ in self._calls and not self._calls[id_].status and not self.why_lost:
            self._h2.increment_flow_control_window(size, id_)
            self._written.set()

    def end(self, why: str) -> None:
        """End the connection; every call on it is lost."""
        self._lose(why)

    async def wait_lost(self) -> None:
        """Return once the connection has ended."""
        await self._lost.wait()

    # --- tasks -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until the connection ends; then ``why_lost`` says why."""
        self._heard_s = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch_life)
                await self._read()
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError) as group:
            self._lose(str(group.exceptions[0]) or "the connection broke")
        finally:
            self._lose("the connection ended")

    async def _read(self) -> None:
        while data := await self._stream.receive_some(READ_BYTES):
            self._heard_s = trio.current_time()
            for event in self._h2.receive_data(bytes(data)):
                self._take(event)
            self._written.set()

    async def _write(self) -> None:
        while True:
            self._written = trio.Event()  # before the look: what changes after it is not missed
            if data := self._h2.data_to_send():
                await self._stream.send_all(data)
            else:
                await self._written.wait()

    async def _watch_life(self) -> None:
        """End a connection whose other side is gone without a word."""
        while True:
            await trio.sleep(PING_S)
            if trio.current_time() - self._heard_s < PING_S:
                continue
            self._h2.ping(b"nodeagnt")
            self._written.set()
            await trio.sleep(DEAD_S)
            if trio.current_time() - self._heard_s > DEAD_S:
                self._lose("the peer is silent")
                await trio.aclose_forcefully(self._stream)

    def _take(self, event: Event) -> None:
        match event:
            case WindowUpdated():
                self._window.set()
            case ConnectionTerminated():
                self._lose(f"the server ended the connection (error {event.error_code})")
            case DataReceived():
                self._take_data(event)
            case ResponseReceived() | TrailersReceived():
                call = self._calls.get(event.stream_id or 0)
                status = parse_status(event.headers or [])
                if call and status:
                    call.end(*status)
            case StreamReset():
                if call := self._calls.get(event.stream_id):
                    call.end(UNAVAILABLE, f"the server reset the call (error {event.error_code})")
            case StreamEnded():
                if call := self._calls.get(event.stream_id):
                    call.end(UNAVAILABLE, "the server ended the call without a status")
            case _:
                pass  # settings and answers to pings: h2 has dealt with them

    def _take_data(self, event: DataReceived) -> None:
        size = event.flow_controlled_length or 0
        if size:  # the connection's window is given back at once, the call's when it is taken
            self._h2.increment_flow_control_window(size)
        if call := self._calls.get(event.stream_id or 0):
            call.take(event.data or b"", size)

    def _lose(self, why: str) -> None:
        self.why_lost = self.why_lost or why
        self._lost.set()
        self._window.set()
        for call in self._calls.values():
            call.wake()


@asynccontextmanager
async def open_channel(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    check: Callable[[bytes], None] = lambda _: None,
) -> AsyncIterator[Channel]:
    """Connect; the channel works while the block runs.

    Args:
        check: raises if the server's certificate (DER) is not good enough.

    Raises:
        OSError, BrokenResourceError: no connection. What ``check`` raises.
    """
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    try:
        if context is not None:
            tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            await tls.do_handshake()
            check(tls.getpeercert(binary_form=True) or b"")
            stream = tls
        channel = Channel(stream, f"{host}:{port}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run)
            yield channel
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
