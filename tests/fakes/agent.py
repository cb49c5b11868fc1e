"""An agent that answers from a table: the real protocol on a real socket, nothing behind it.

Its own msgpack code, not the project's, so that both ends cannot share a mistake.
"""

import queue
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgpack


class Failure(Exception):
    """Answer a call with an error."""

    def __init__(self, kind: str, message: str, **fields: object) -> None:
        super().__init__(message)
        self.wire = [kind, message, fields]


class FakeCall:
    """A call that runs: send items, read input; ``resized`` and ``cancelled`` as they come."""

    def __init__(self, connection: "_Connection", call_id: int, params: dict) -> None:
        self._connection = connection
        self._id = call_id
        self.params = params
        self.input: queue.Queue[bytes | None] = queue.Queue()
        self.cancelled = threading.Event()
        self.sizes: list[tuple[int, int]] = []

    def send(self, item: object) -> None:
        """Send one item."""
        self._connection.write([2, "stream", [self._id, item]])

    def out(self, data: bytes, stream: str = "stdout") -> None:
        """Send a piece of output."""
        self.send({"stream": stream, "data": data})

    def all_input(self) -> bytes:
        """Read input to its end."""
        pieces = []
        while (piece := self.input.get(timeout=5)) is not None:
            pieces.append(piece)
        return b"".join(pieces)


Handler = Callable[[FakeCall], object]


class FakeAgent:
    """Serves ``replies``: a value, a ``Failure``, or a function of the ``FakeCall``."""

    def __init__(self, path: Path, replies: Mapping[str, object]) -> None:
        self.host = f"unix://{path}"
        self.replies = dict(replies)
        self.calls: list[tuple[str, dict]] = []
        self.running: dict[str, FakeCall] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> "FakeAgent":
        self._go(self._accept)
        return self

    def __exit__(self, *_exc: object) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a thread of the fake agent hangs"

    def params_of(self, method: str) -> list[dict]:
        """All parameters this method was called with."""
        return [params for name, params in self.calls if name == method]

    def _go(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self._go(_Connection(self, sock).serve)

    def answer(self, call: FakeCall, method: str) -> tuple[object, object]:
        """Give error and result of a call."""
        reply = self.replies.get(method, Failure("missing", f"no method {method}"))
        try:
            if callable(reply):
                reply = reply(call)
            if isinstance(reply, Failure):
                raise reply
        except Failure as exc:
            return exc.wire, None
        return None, reply


class _Connection:
    def __init__(self, agent: FakeAgent, sock: socket.socket) -> None:
        self._agent = agent
        self._sock = sock
        self._lock = threading.Lock()
        self._calls: dict[int, FakeCall] = {}

    def write(self, message: object) -> None:
        with self._lock, suppress(OSError):
            self._sock.sendall(msgpack.packb(message))

    def serve(self) -> None:
        unpacker = msgpack.Unpacker()
        with suppress(OSError):
            while data := self._sock.recv(65536):
                unpacker.feed(data)
                for message in unpacker:
                    self._take(message)
        for call in self._calls.values():
            call.cancelled.set()
            call.input.put(None)

    def _take(self, message: list) -> None:
        if message[0] == 0:
            _, call_id, method, params = message
            call = self._calls[call_id] = FakeCall(self, call_id, params[0] if params else {})
            self._agent.calls.append((method, call.params))
            self._agent.running[method] = call
            self._agent._go(self._answer, call_id, call, method)
            return
        call = self._calls[message[2][0]]
        if message[1] == "stream.input":
            piece = message[2][1]
            call.input.put(piece)
            if piece:
                self.write([2, "stream.credit", [message[2][0], len(piece)]])
        elif message[1] == "stream.resize":
            call.sizes.append(tuple(message[2][1:]))
        elif message[1] == "cancel":
            call.cancelled.set()
            call.input.put(None)

    def _answer(self, call_id: int, call: FakeCall, method: str) -> None:
        error, result = self._agent.answer(call, method)
        self.write([1, call_id, error, result])
