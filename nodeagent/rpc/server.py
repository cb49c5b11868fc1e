"""The RPC front door: a unix socket, and a connection object for each client."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio

from nodeagent.logs import AUDIT
from nodeagent.rpc.auth import open_listener, read_peer, remove_socket
from nodeagent.rpc.call import Call
from nodeagent.rpc.connection import Connection, Done, Limits
from nodeagent.rpc.handlers import Bound, Handler, bind

__all__ = ["Call", "Done", "Handler", "Limits", "Options", "log_change", "serve_rpc"]

log = logging.getLogger(__name__)
audit_log = logging.getLogger(AUDIT)


def _observe_nothing(_method: str, _outcome: str, _seconds: float) -> None:
    """Count nothing."""


def log_change(done: Done) -> None:
    """Write the audit line of a call that changes something."""
    audit_log.info(
        "change",
        extra={
            "method": done.method,
            "target": done.target,
            "outcome": done.outcome,
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
    ``audit`` gets each ended call that changes something.
    """

    limits: Limits = field(default_factory=Limits)
    version: str = ""
    observe: Callable[[str, str, float], None] = _observe_nothing
    audit: Callable[[Done], None] = log_change


async def serve_rpc(
    path: Path,
    handlers: Mapping[str, Handler],
    *,
    group: str = "nodeagent",
    options: Options = Options(),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve RPC on a unix socket until cancelled; started once clients can connect.

    Args:
        path: of the socket; its directory exists.
        handlers: by method name; ``rpc.describe`` is ours.
        group: who may connect besides root.

    Raises:
        Busy, Conflict, Invalid: the socket cannot be made.
        ValueError: a handler for a method that is not in the table.
    """
    server = _Server(bind(handlers, version=options.version), options)
    sock = open_listener(path, group=group)
    try:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, server.serve_client, [listener])
            task_status.started()
    finally:
        remove_socket(path, sock)


class _Server:
    def __init__(self, bound: Mapping[str, Bound], options: Options) -> None:
        self._bound = bound
        self._options = options
        self._connections = 0

    async def serve_client(self, stream: trio.SocketStream) -> None:
        """Serve one client; nothing it does may end the server."""
        limits = self._options.limits
        if self._connections >= limits.max_connections:
            log.warning("too many connections", extra={"max": limits.max_connections})
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            peer = read_peer(stream.socket)
            connection = Connection(stream, peer, self._bound, limits=limits, on_done=self._on_done)
            await connection.serve()
        except Exception:
            log.exception("connection failed")
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    def _on_done(self, done: Done) -> None:
        self._options.observe(done.method, done.outcome, done.seconds)
        if done.changes:
            self._options.audit(done)
