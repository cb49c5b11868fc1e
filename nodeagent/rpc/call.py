"""One running call, as its handler sees it."""

from collections import deque

import trio

from nodeagent.rpc import streams
from nodeagent.rpc.auth import Peer
from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.outbox import Outbox
from nodeagent.rpc.protocol import build_notify


class Call:
    """Items out, input and terminal sizes in; cancelled when its client says so or goes away."""

    def __init__(self, call_id: int, peer: Peer, outbox: Outbox, *, takes_input: bool) -> None:
        self.id = call_id
        self.peer = peer
        self.scope = trio.CancelScope()
        self.failure: RpcError | None = None  # why the scope was cancelled, if not on request
        self._outbox = outbox
        self._window = streams.Window(0)
        self._meter = streams.InputMeter(streams.INPUT_CREDIT_BYTES if takes_input else 0)
        self._input: deque[bytes | None] = deque()
        self._resize: tuple[int, int] | None = None
        self._changed: trio.Event | None = None  # made only when somebody waits

    async def send(self, item: object) -> None:
        """Send an item of the stream; waits for the client's window and for the socket."""
        while not self._window.is_open():
            await self._wait_change()
        self._window.take()
        await self._outbox.put(build_notify(streams.ITEM, self.id, item))

    async def receive_input(self) -> bytes | None:
        """Wait for the next piece of input; None when it has ended, then for ever None."""
        while not self._input:
            await self._wait_change()
        data = self._input[0]
        if data is not None:
            self._input.popleft()
            grant = self._meter.use(len(data))
            if grant:
                await self._outbox.put(build_notify(streams.CREDIT, self.id, grant))
        return data

    async def receive_resize(self) -> tuple[int, int]:
        """Wait for a new size of the terminal: rows, columns; only the newest counts."""
        while self._resize is None:
            await self._wait_change()
        size, self._resize = self._resize, None
        return size

    def open_window(self, size: int) -> None:
        """Let ``size`` items be sent without acknowledgement; 0 = any number."""
        self._window = streams.Window(size)

    def on_ack(self, count: int) -> None:
        """Take an acknowledgement of items."""
        self._window.acknowledge(count)
        self._touch()

    def on_input(self, data: bytes | None) -> None:
        """Take a piece of input; the call fails if the client had no credit for it."""
        if self._input and self._input[-1] is None:
            return
        if data is not None and not self._meter.arrive(len(data)):
            self.fail(RpcError("invalid", "input beyond the credit", {"field": "stream.input"}))
            return
        if data != b"":
            self._input.append(data)
            self._touch()

    def on_resize(self, rows: int, columns: int) -> None:
        """Take a new size of the terminal."""
        self._resize = (rows, columns)
        self._touch()

    def fail(self, failure: RpcError) -> None:
        """Stop the handler; the call is answered by this error."""
        self.failure = failure
        self.scope.cancel()

    async def _wait_change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _touch(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
