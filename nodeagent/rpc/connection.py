"""One client's connection: reads messages, runs calls, sends answers."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from nodeagent.rpc import streams
from nodeagent.rpc.auth import Peer
from nodeagent.rpc.call import Call
from nodeagent.rpc.errors import ProtocolError, RpcError
from nodeagent.rpc.framing import MAX_FRAME_BYTES
from nodeagent.rpc.handlers import Bound, to_error
from nodeagent.rpc.outbox import Outbox
from nodeagent.rpc.protocol import (
    Event,
    Notify,
    Protocol,
    Rejected,
    Request,
    build_error,
    build_response,
    read_args,
    read_params,
)
from nodeagent.rpc.roles import may_call, needed_role
from nodeagent.rpc.schema.shapes import Method

log = logging.getLogger(__name__)

_TARGET_FIELDS: Final = ("name", "ref", "source", "network", "image")
_CHUNK_BYTES: Final = 32 << 10
_CALLS_PER_CHECKPOINT: Final = 64  # about 0.5 ms of the loop for the smallest calls
# How long the reader waits for one of max_calls to end before it answers "exhausted". It cannot
# wait for ever: what would end the running calls (acks, cancels) may stand behind in the stream.
_ROOM_WAIT_S: Final = 1.0
_LAST_WORDS_S: Final = 1.0  # for the last answers to be sent to a client that reads
_REPLACED: Final = "the agent is being replaced, connect again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A call that ended; ``outcome`` is "ok" or the kind of the error, ``target`` its object."""

    method: str
    outcome: str
    seconds: float
    changes: bool
    target: str
    peer: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may take."""

    max_frame_bytes: int = MAX_FRAME_BYTES
    max_calls: int = 1024  # in flight, per connection
    max_connections: int = 256


class Connection:
    """Calls of one connection run side by side and are answered as they end."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        peer: Peer,
        bound: Mapping[str, Bound],
        *,
        limits: Limits,
        on_done: Callable[[Done], None],
    ) -> None:
        self._stream = stream
        self.peer = peer
        self._bound = bound
        self._limits = limits
        self._on_done = on_done
        self._outbox = Outbox(stream)
        self._calls: dict[int, Call] = {}
        self._methods: dict[int, Method] = {}  # of the calls
        self._pending: deque[_Admitted | bytes] = deque()  # bytes: an answer known at once
        self._drained = trio.Event()
        self._workers = 0
        self._is_growing = False
        self._is_asked = False  # anything yet
        self._is_over = False
        self._refuses: Callable[[Method], bool] = lambda _method: False
        self._moved = trio.Event()  # a call ended, or one of the flags above changed

    async def serve(self) -> None:
        """Serve until the peer closes, breaks the protocol or we are cancelled.

        Cancel: running calls are cancelled; what a handler shields is waited for.
        """
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read(nursery)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("connection broke", extra={"pid": self.peer.pid})
            except ProtocolError as exc:
                log.warning(
                    "connection closed: not msgpack-rpc",
                    extra={"pid": self.peer.pid, "uid": self.peer.uid, "reason": str(exc)},
                )
            finally:
                self._is_over = True
                self._moved.set()
                nursery.cancel_scope.cancel()

    async def retire(self, changes_s: float, reads_s: float) -> None:
        """Let what runs end, and answer what does not end, or comes now, by ``unavailable``.

        Args:
            changes_s: for calls that change something; no new one begins.
            reads_s: for calls without a stream, and for a client that has yet to ask.
        """
        self._refuses = _is_change
        await self._wait_moved(self._is_at_rest, reads_s)
        await self._wait_moved(self._changes_nothing, changes_s)
        self._refuses = _is_any
        for call in self._calls.values():
            call.fail(RpcError("unavailable", _REPLACED))
        await self._wait_moved(lambda: not self._calls and not self._pending, _LAST_WORDS_S)
        with trio.move_on_after(_LAST_WORDS_S):
            await self._outbox.wait_sent()

    async def _wait_moved(self, is_done: Callable[[], bool], within_s: float) -> None:
        with trio.move_on_after(within_s):
            while not (is_done() or self._is_over):
                self._moved = trio.Event()
                await self._moved.wait()

    def _is_at_rest(self) -> bool:
        methods = self._methods.values()
        return self._is_asked and all(m.changes or m.stream for m in methods)

    def _changes_nothing(self) -> bool:
        # a session with input has no end of its own
        methods = self._methods.values()
        return not any(method.changes and not method.takes_input for method in methods)

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            await self._outbox.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()

    async def _read(self, nursery: trio.Nursery) -> None:
        protocol = Protocol(max_frame_bytes=self._limits.max_frame_bytes)
        while data := await self._stream.receive_some(_CHUNK_BYTES):
            for event in protocol.receive(bytes(data)):
                self._take(event)
            self._is_asked = True
            if self._pending:
                self._grow(nursery)
                await self._wait_drained()

    def _take(self, event: Event) -> None:
        match event:
            case Request():
                self._pending.append(self._admit(event))
            case Rejected():
                self._pending.append(_build_failure(event.id, event.error))
            case Notify() if react := _REACTIONS.get(event.method):
                react(self._calls, event)
            case _:  # a notification nobody waits for, or an answer to nothing we asked
                return

    def _admit(self, request: Request) -> "_Admitted | bytes":
        """Make the call known, so that what follows it in the stream finds it; or refuse it."""
        bound = self._bound.get(request.method)
        if bound is None:
            text = f"unknown method {request.method[:100]!r}; rpc.describe lists all"
            return build_error(request.id, "missing", text, {"method": request.method[:100]})
        if not may_call(self.peer.role, bound.method):
            return self._forbid(request.id, bound.method)
        if request.id in self._calls:
            text = f"id {request.id} is in use by a running call"
            return build_error(request.id, "invalid", text, {"field": "id"})
        if self._refuses(bound.method):
            return build_error(request.id, "unavailable", _REPLACED, {"begun": False})
        takes_input = bound.method.takes_input
        call = Call(request.id, self.peer, self._outbox, takes_input=takes_input)
        self._calls[request.id] = call
        self._methods[request.id] = bound.method
        return _Admitted(request, bound, call)

    def _forbid(self, id_: int, method: Method) -> bytes:
        peer, needed = self.peer, needed_role(method)
        log.warning(
            "call refused: not the role for it",
            extra={"method": method.name, "who": peer.name, "role": peer.role, "needs": needed},
        )
        account = _Account(started=trio.current_time())
        account.outcome = "refused"
        self._on_done(account.close(method, peer))
        text = f"{method.name} needs the role {needed}; {peer.name or 'you'} has {peer.role}"
        return build_error(
            id_,
            "refused",
            text,
            {"method": method.name, "role": peer.role, "needs": needed, "who": peer.name},
        )

    # --- workers: a request that does not wait costs no task of its own --------------------------

    def _grow(self, nursery: trio.Nursery) -> None:
        """Start one more worker, unless one is about to start or there are enough."""
        if not self._is_growing and self._workers < self._limits.max_calls:
            self._is_growing = True
            self._workers += 1
            nursery.start_soon(self._work, nursery)

    async def _work(self, nursery: trio.Nursery) -> None:
        """Answer what is pending; while a handler of ours waits, the next worker goes on."""
        self._is_growing = False
        done = 0
        try:
            while self._pending:
                next_ = self._pending.popleft()
                if self._pending:
                    self._grow(nursery)
                else:
                    self._drained.set()
                reply = next_ if isinstance(next_, bytes) else await self._run(next_)
                await self._outbox.put(reply)
                done += 1
                if done % _CALLS_PER_CHECKPOINT == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            self._workers -= 1

    async def _wait_drained(self) -> None:
        """Wait until every request has a worker; turn away what finds none in time."""
        while self._pending:
            with trio.move_on_after(_ROOM_WAIT_S):
                await self._drained.wait()
            # A client that reads no answers gets no more of them: it is waited for.
            if self._workers >= self._limits.max_calls and not self._outbox.is_full:
                self._turn_away()
        self._drained = trio.Event()

    def _turn_away(self) -> None:
        text = f"more than {self._limits.max_calls} calls in flight on this connection"
        while self._pending:
            reply = self._pending.popleft()
            if isinstance(reply, _Admitted):
                self._forget(reply.call)
                fields = {"max_calls": self._limits.max_calls}
                reply = build_error(reply.call.id, "exhausted", text, fields)
            self._outbox.put_nowait(reply)

    async def _run(self, admitted: "_Admitted") -> bytes:
        call, method = admitted.call, admitted.bound.method
        account = _Account(started=trio.current_time())
        try:
            return await _handle(admitted, account)
        finally:
            self._forget(call)
            self._on_done(account.close(method, self.peer))

    def _forget(self, call: Call) -> None:
        del self._calls[call.id], self._methods[call.id]
        self._moved.set()


def _is_change(method: Method) -> bool:
    return method.changes


def _is_any(_method: Method) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A call that is to be run."""

    request: Request
    bound: Bound
    call: Call


class _Account:
    """What is noted about a call while it runs."""

    def __init__(self, *, started: float) -> None:
        self._started = started
        self.outcome = "cancelled"
        self.target = ""

    def close(self, method: Method, peer: Peer) -> Done:
        return Done(
            method=method.name,
            outcome=self.outcome,
            seconds=trio.current_time() - self._started,
            changes=method.changes,
            target=self.target,
            peer=peer,
        )


async def _handle(admitted: _Admitted, account: _Account) -> bytes:
    """Run the handler and build its answer; an error stops here and becomes a reply."""
    call, bound = admitted.call, admitted.bound
    try:
        with call.scope:
            params = read_params(admitted.request.params, bound.decoder)
            account.target = _find_target(params) if bound.method.changes else ""
            call.open_window(getattr(params, "window", 0))
            reply = build_response(call.id, await bound.handle(params, call))
            account.outcome = "ok"
            return reply
        error = call.failure or RpcError("cancelled", f"{bound.method.name} was cancelled")
    except Exception as exc:  # noqa: BLE001 - an RPC handler is one of the three places
        error = to_error(exc, method=bound.method.name)
    account.outcome = error.kind
    return _build_failure(call.id, error)


def _find_target(params: object) -> str:
    """Return the name of what a call is about, for the audit log."""
    for field in _TARGET_FIELDS:
        if isinstance(value := getattr(params, field, None), str) and value:
            return value
    return ""


def _build_failure(call_id: int, error: RpcError) -> bytes:
    return build_error(call_id, error.kind, error.message, error.fields)


# --- notifications: about calls that may have ended meanwhile, so an unknown id is no error ------


def _on_ack(calls: Mapping[int, Call], event: Notify) -> None:
    ack = read_args(event.args, streams.Ack)
    if ack is not None and (call := calls.get(ack.id)):
        call.on_ack(ack.count)


def _on_input(calls: Mapping[int, Call], event: Notify) -> None:
    piece = read_args(event.args, streams.Input)
    if piece is not None and (call := calls.get(piece.id)):
        call.on_input(piece.data)


def _on_resize(calls: Mapping[int, Call], event: Notify) -> None:
    size = read_args(event.args, streams.Resize)
    if size is not None and (call := calls.get(size.id)):
        call.on_resize(size.rows, size.columns)


def _on_cancel(calls: Mapping[int, Call], event: Notify) -> None:
    cancel = read_args(event.args, streams.Cancel)
    if cancel is not None and (call := calls.get(cancel.id)):
        call.scope.cancel()


_REACTIONS: Final[Mapping[str, Callable[[Mapping[int, Call], Notify], None]]] = {
    streams.ACK: _on_ack,
    streams.INPUT: _on_input,
    streams.RESIZE: _on_resize,
    streams.CANCEL: _on_cancel,
}
