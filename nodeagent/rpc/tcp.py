"""RPC over TCP, with certificates on both sides; and the client's half for other agents.

Who comes without a certificate may do no more than ask to be admitted. Handshakes are bounded in
number and time, so one that never ends keeps nobody out for long, and nobody else at all.
"""

import errno
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import trio

from nodeagent.cluster.ca import read_identity
from nodeagent.errors import (
    AgentError,
    Busy,
    Conflict,
    Exhausted,
    Internal,
    Invalid,
    Missing,
    Refused,
    Unavailable,
)  # fmt: skip
from nodeagent.rpc.auth import Peer
from nodeagent.rpc.client import open_client_on
from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.roles import role_of
from nodeagent.rpc.server import Server

log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 5.0
HANDSHAKES: Final = 128  # at once; who comes then is turned away
ASK_S: Final = 20.0  # for a call of another agent, connecting included
AGAIN_S: Final = 0.2  # while a former agent still has the port
_KINDS: Final[Mapping[str, type[AgentError]]] = {
    each.kind: each
    for each in (Busy, Conflict, Exhausted, Internal, Invalid, Missing, Refused, Unavailable)
}


class TcpEntrance:
    """Serves a server's methods on one address."""

    def __init__(self, server: Server, context: Callable[[], ssl.SSLContext]) -> None:
        self._server = server
        self._context = context  # asked for each client: certificates are renewed
        self._handshakes = 0

    async def serve(
        self,
        host: str,
        port: int,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled; started once clients can connect."""
        listeners = await _listen(host, port)
        task_status.started()
        await trio.serve_listeners(self._welcome, listeners)

    async def _welcome(self, stream: trio.SocketStream) -> None:
        if self._handshakes >= HANDSHAKES:
            log.warning("too many handshakes at once", extra={"max": HANDSHAKES})
            await trio.aclose_forcefully(stream)
            return
        try:
            address = str(stream.socket.getpeername()[0])
        except OSError:  # gone again already
            await trio.aclose_forcefully(stream)
            return
        peer: Peer | None = None
        tls = trio.SSLStream(stream, self._context(), server_side=True, https_compatible=True)
        self._handshakes += 1
        try:
            with trio.move_on_after(HANDSHAKE_S):
                peer = await _meet(tls, address)
        finally:
            self._handshakes -= 1
        if peer is None:
            await trio.aclose_forcefully(stream)
        else:
            await self._server.serve_peer(tls, peer)


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    while True:
        try:
            return await trio.open_tcp_listeners(port, host=host)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            await trio.sleep(AGAIN_S)


async def _meet(tls: trio.SSLStream[trio.SocketStream], address: str) -> Peer | None:
    """Who it is; None: nobody we speak to."""
    try:
        await tls.do_handshake()
        certificate = tls.getpeercert(binary_form=True)
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        reason = str(exc.__cause__ or exc)
        log.warning("connection refused", extra={"address": address, "reason": reason})
        return None
    if not certificate:
        return Peer(name="", role="anyone", address=address)
    try:
        found = read_identity(certificate)
    except Refused as exc:
        log.warning("connection refused", extra={"address": address, "reason": str(exc)})
        return None
    return Peer(name=found.name, role=role_of(found.role), address=address)


async def ask_agent(
    remote: tuple[str, int],
    context: ssl.SSLContext,
    check: Callable[[bytes], None],
    method: str,
    params: object,
) -> object:
    """Call a method of another agent.

    Args:
        check: gets the other side's certificate (DER) before anything is sent; refuses by raising.

    Raises:
        Unavailable: it does not answer. Any error of the agent's own, of its kind.
    """
    host, port = remote
    try:
        with trio.fail_after(ASK_S):
            raw = await trio.open_tcp_stream(host, port)
            tls = trio.SSLStream(raw, context, server_hostname=host, https_compatible=True)
            try:
                await tls.do_handshake()
                check(tls.getpeercert(binary_form=True) or b"")
                async with open_client_on(tls) as client:
                    return await client.call(method, msgspec.to_builtins(params))
            finally:
                await trio.aclose_forcefully(tls)
    except RpcError as exc:
        kind = _KINDS.get(exc.kind, Internal)
        raise kind(exc.message, **{str(k): v for k, v in exc.fields.items()}) from exc
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, ssl.SSLError) as exc:
        reason = str(exc.__cause__ or exc) or type(exc).__name__
        raise Unavailable(f"no answer from {host} port {port}", reason=reason) from exc
