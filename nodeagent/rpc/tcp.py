"""RPC over TCP, with certificates on both sides; and the client's half for other agents.

Who comes without a certificate may do no more than ask to be admitted. Handshakes are bounded in
number and time, so one that never ends keeps nobody out for long, and nobody else at all.
"""

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
from nodeagent.rpc.crowd import Crowd, Pace
from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.roles import role_of
from nodeagent.rpc.server import Server

log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 5.0
HANDSHAKES: Final = 128  # at once; who comes then is let in at the cost of another
STRANGERS: Final = 32  # at once, of those who have no certificate
STRANGER_S: Final = 30.0  # for what one asks
LINES: Final = 10  # in the log about one address; then one each LINE_S
LINE_S: Final = 10.0
ASK_S: Final = 20.0  # for a call of another agent, connecting included
AGAIN_S: Final = 0.2  # while the port cannot be had
_KINDS: Final[Mapping[str, type[AgentError]]] = {
    each.kind: each
    for each in (Busy, Conflict, Exhausted, Internal, Invalid, Missing, Refused, Unavailable)
}

# OpenSSL's X509_V_ERR_*; what is none of these is of another authority
_CERTIFICATE: Final = {9: "early", 10: "expired", 26: "use"}
_OLD: Final = ("UNSUPPORTED_PROTOCOL", "WRONG_VERSION_NUMBER", "NO_SHARED_CIPHER")
_Tls = trio.SSLStream[trio.SocketStream]


def _observe_nothing(_outcome: str) -> None:
    """Count nothing."""


class TcpEntrance:
    """Serves a server's methods on one address.

    Args:
        context: asked for each client, so that certificates can be renewed.
        now: the time, since the epoch; nobody stays longer than the certificate is good.
        observe: told how each meeting ended: a role, or why nobody was met.
    """

    def __init__(
        self,
        server: Server,
        context: Callable[[], ssl.SSLContext],
        now: Callable[[], float],
        observe: Callable[[str], None] = _observe_nothing,
    ) -> None:
        self._server = server
        self._context = context
        self._now = now
        self._observe = observe
        self._handshakes = Crowd(HANDSHAKES)
        self._strangers = Crowd(STRANGERS)
        self._told = Pace(burst=LINES, every_s=LINE_S)

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
        try:
            address = str(stream.socket.getpeername()[0])
            tls = trio.SSLStream(stream, self._context(), server_side=True, https_compatible=True)
        except OSError as exc:  # the client is gone again, or our certificate cannot be read
            log.warning("connection cannot be served", extra={"error": str(exc)})
            await trio.aclose_forcefully(stream)
            return
        try:
            peer = await self._meet(tls, address)
            self._observe(peer.role)
        except _Unmet as exc:
            self._refuse(address, exc)
            await trio.aclose_forcefully(stream)
            return
        if peer.role != "anyone":
            with trio.move_on_after(max(0.0, peer.until - self._now())) as rest:
                await self._server.serve_peer(tls, peer)
            if rest.cancelled_caught:
                extra = {"who": peer.name, "address": address}
                log.warning("connection ended: its certificate is not good any more", extra=extra)
            return
        with trio.move_on_after(STRANGER_S) as scope:
            self._strangers.enter(scope, address, scope.cancel)
            try:
                await self._server.serve_peer(tls, peer)
            finally:
                self._strangers.leave(scope)

    async def _meet(self, tls: _Tls, address: str) -> Peer:
        evicted = False

        def evict() -> None:
            nonlocal evicted
            evicted = True
            scope.cancel()

        with trio.move_on_after(HANDSHAKE_S) as scope:
            self._handshakes.enter(scope, address, evict)
            try:
                return await _shake_hands(tls, address)
            finally:
                self._handshakes.leave(scope)
        raise _Unmet(
            *(("crowded", "too many handshakes at once") if evicted else ("slow", "no handshake"))
        )

    def _refuse(self, address: str, unmet: "_Unmet") -> None:
        self._observe(unmet.outcome)
        if self._told.may(address, trio.current_time()):  # a flood does not fill the log
            log.warning(
                "connection refused",
                extra={"address": address, "outcome": unmet.outcome, "reason": unmet.reason},
            )


class _Unmet(Exception):
    """Nobody we speak to; ``outcome`` is one of a few words."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    told: set[int | None] = set()
    while True:
        try:
            return await trio.open_tcp_listeners(port, host=host)
        except OSError as exc:
            # a former agent still has the port, or the host has not got its address yet
            if exc.errno not in told:
                told.add(exc.errno)
                log.info("the cluster's port waits", extra={"port": port, "error": str(exc)})
            await trio.sleep(AGAIN_S)


async def _shake_hands(tls: _Tls, address: str) -> Peer:
    """Who it is, and in which role."""
    try:
        await tls.do_handshake()
        certificate = tls.getpeercert(binary_form=True)
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        raise _explain(exc.__cause__ or exc) from exc
    if not certificate:
        return Peer(name="", role="anyone", address=address)
    try:
        found = read_identity(certificate)
    except Refused as exc:
        raise _Unmet("role", str(exc)) from exc
    until = found.not_after.timestamp()
    return Peer(name=found.name, role=role_of(found.role), address=address, until=until)


def _explain(exc: BaseException) -> _Unmet:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _Unmet(_CERTIFICATE.get(exc.verify_code, "foreign"), exc.verify_message)
    reason = str(getattr(exc, "reason", "") or exc)
    return _Unmet("protocol" if reason in _OLD else "broken", reason)


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
