"""The RPC front door: a unix socket, and a connection object for each client."""

import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from nodeagent.logs import AUDIT
from nodeagent.rpc.auth import Peer, is_reached, open_listener, read_peer, remove_socket
from nodeagent.rpc.call import Call
from nodeagent.rpc.connection import Connection, Done, Limits
from nodeagent.rpc.handlers import Bound, Handler, bind

__all__ = ["Call", "Done", "Entrance", "Handler", "Limits", "Options", "log_change", "serve_rpc"]

log = logging.getLogger(__name__)
audit_log = logging.getLogger(AUDIT)

CHANGES_S: Final = 10.0  # for calls that change something to end before the agent is replaced
READS_S: Final = 0.25  # for the others, and for who has just connected to ask


def _observe_nothing(_method: str, _outcome: str, _seconds: float) -> None:
    """Count nothing."""


def _observe_no_role(_role: str, _outcome: str) -> None:
    """Count nothing."""


def log_change(done: Done) -> None:
    """Write the audit line of a call that changes something."""
    audit_log.info(
        "change",
        extra={
            "method": done.method,
            "target": done.target,
            "outcome": done.outcome,
            "who": done.peer.name,
            "role": done.peer.role,
            "address": done.peer.address,
            "uid": done.peer.uid,
            "gid": done.peer.gid,
            "pid": done.peer.pid,
            "seconds": round(done.seconds, 6),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Limits, the agent's version, and who is told about calls.

    ``observe`` gets method, "ok" or the kind of the error, and seconds, for every bound method;
    ``observe_role`` the caller's role and the same;
    ``audit`` gets each ended call that changes something.
    """

    limits: Limits = field(default_factory=Limits)
    version: str = ""
    observe: Callable[[str, str, float], None] = _observe_nothing
    observe_role: Callable[[str, str], None] = _observe_no_role
    audit: Callable[[Done], None] = log_change


class Entrance:
    """Where the clients come in, and the way to have no more of them.

    Args:
        listener: of a former agent; None: it is opened at ``path``, whose directory exists.
        group: who may connect besides root.

    Raises:
        Busy, Conflict, Invalid: the socket cannot be made.
    """

    def __init__(
        self, path: Path, *, group: str = "nodeagent", listener: socket.socket | None = None
    ) -> None:
        self.path = path
        if listener is not None and not is_reached(path, group=group):
            listener.close()  # its file is gone: nobody would find it
            listener = None
        self.listener = listener or open_listener(path, group=group)
        self._leaving = trio.Event()
        self._left = trio.Event()
        self.is_handed_on = False

    async def hand_on(self) -> None:
        """Accept nobody any more and let calls end; the socket stays open, now the caller's."""
        self.is_handed_on = True
        self._leaving.set()
        await self._left.wait()

    async def wait_leaving(self) -> None:
        """Return when ``hand_on`` is called."""
        await self._leaving.wait()

    def close(self) -> None:
        """All clients are gone; the socket goes too, unless it was handed on."""
        self._left.set()
        if not self.is_handed_on:
            remove_socket(self.path, self.listener)


def build_server(handlers: Mapping[str, Handler], options: Options = Options()) -> "Server":
    """What serves any number of entrances.

    Args:
        handlers: by method name; ``rpc.describe`` is ours.

    Raises:
        ValueError: a handler for a method that is not in the table.
    """
    return Server(bind(handlers, version=options.version), options)


async def serve_rpc(
    entrance: Entrance,
    server: "Server",
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the unix socket until cancelled or handed on; started once clients can connect."""
    # trio closes what it accepts on: a copy
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(entrance.listener.dup()))
    try:
        async with trio.open_nursery() as clients:
            with trio.CancelScope() as accepting:
                async with trio.open_nursery() as nursery:
                    await nursery.start(_accept, server, listener, clients)
                    task_status.started()
                    await entrance.wait_leaving()
                    accepting.cancel()
            await server.retire()
            clients.cancel_scope.cancel()
    finally:
        entrance.close()


async def _accept(
    server: "Server",
    listener: trio.SocketListener,
    clients: trio.Nursery,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    await trio.serve_listeners(
        server.serve_client, [listener], handler_nursery=clients, task_status=task_status
    )


class Server:
    """What all entrances share: the bound methods and the connections."""

    def __init__(self, bound: Mapping[str, Bound], options: Options) -> None:
        self._bound = bound
        self._options = options
        self._connections: set[Connection] = set()

    async def serve_client(self, stream: trio.SocketStream) -> None:
        """Serve one client of the unix socket; nothing it does may end the server."""
        await self.serve_peer(stream, read_peer(stream.socket))

    async def serve_peer(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Serve who is at the other end, once it is known who that is."""
        limits = self._options.limits
        ways = Counter(each.peer.is_remote for each in self._connections)
        # each way has a limit of its own: who comes by TCP keeps nobody from the unix socket
        if ways[peer.is_remote] >= limits.max_connections:
            extra = {"max": limits.max_connections, "address": peer.address}
            log.warning("too many connections", extra=extra)
            await trio.aclose_forcefully(stream)
            return
        connection = Connection(stream, peer, self._bound, limits=limits, on_done=self._on_done)
        self._connections.add(connection)
        try:
            await connection.serve()
        except Exception:
            log.exception("connection failed")
        finally:
            self._connections.discard(connection)
            await trio.aclose_forcefully(stream)

    async def retire(self) -> None:
        """Let changes end, others for a moment; then every connection ends with an answer."""
        await trio.lowlevel.checkpoint()  # whoever was accepted last is among the connections now
        async with trio.open_nursery() as nursery:
            for connection in list(self._connections):
                nursery.start_soon(connection.retire, CHANGES_S, READS_S)

    def _on_done(self, done: Done) -> None:
        self._options.observe(done.method, done.outcome, done.seconds)
        self._options.observe_role(done.peer.role, done.outcome)
        if done.changes:
            self._options.audit(done)
