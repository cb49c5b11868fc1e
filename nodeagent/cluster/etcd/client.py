"""A client of an etcd cluster: one connection at a time, to a member that answers.

Each call ends within its deadline. What only reads is tried again on another member; what writes is
not once it was sent, for whether it was carried out is then not known.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio
from google.protobuf.message import Message

from nodeagent.cluster.etcd.channel import Call, Channel, Lost, open_channel
from nodeagent.cluster.etcd.grpc import OK, UNAVAILABLE, status_error
from nodeagent.cluster.etcd.messages import Malformed, message, method, parse_message
from nodeagent.errors import Refused, Unavailable

Address = tuple[str, int]

CALL_S: Final = 5.0  # for a call without a deadline of its own
CONNECT_S: Final = 2.0  # until the next member is tried
RETRY_S: Final = (0.05, 0.1, 0.2, 0.5)  # between rounds over all members
READS: Final = frozenset({"Range", "MemberList", "Status"})


class EtcdClient:
    """Calls by name (``messages.method``); ``open_client`` makes one."""

    def __init__(
        self,
        members: Sequence[Address],
        context: Callable[[], ssl.SSLContext] | None,
        check: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._members = list(members)
        self._context = context  # asked at each connect: certificates are renewed
        self._check = check  # of a member's certificate (DER): raises if it is not good enough
        self._channel: Channel | None = None
        self._at = 0
        self._changed = trio.Event()
        self._wanted = trio.Event()
        self._why = "not connected yet"

    def set_members(self, members: Sequence[Address]) -> None:
        """Ask these from now on; a connection that is up stays."""
        if members:
            self._members = list(members)

    def leave_out(self, host: str) -> None:
        """Ask this member no more, if there are others: it is going."""
        others = [each for each in self._members if each[0] != host]
        if others:
            self._members = others
            self.reconnect()

    def reconnect(self) -> None:
        """End the connection; the next call makes a new one, with the certificate of then."""
        if self._channel is not None:
            self._channel.end("the connection is made anew")

    # --- the connection ------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a connection as long as somebody wants one."""
        failed = 0
        while True:
            await self._wanted.wait()
            host, port = self._members[self._at % len(self._members)]
            try:
                await self._stay_connected(host, port)
                failed = 0
            except (
                OSError, ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError, Refused
            ) as exc:  # fmt: skip
                self._why = f"{host}:{port}: {_reason(exc)}"
                failed += 1
            self._at += 1
            self._tell()
            if failed and failed % len(self._members) == 0:
                round_ = failed // len(self._members) - 1
                await trio.sleep(RETRY_S[min(round_, len(RETRY_S) - 1)])

    async def _stay_connected(self, host: str, port: int) -> None:
        context = self._context() if self._context else None
        with trio.fail_after(CONNECT_S) as limit:
            async with open_channel(host, port, context, self._check) as channel:
                limit.deadline = float("inf")
                self._channel = channel
                self._tell()
                try:
                    await channel.wait_lost()
                finally:
                    self._channel = None
                    self._why = f"{host}:{port}: {channel.why_lost}"

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _connected(self) -> Channel:
        self._wanted.set()
        while self._channel is None or self._channel.why_lost:
            await self._changed.wait()
        return self._channel

    def _move_on(self, channel: Channel, why: str) -> None:
        """Leave a member that cannot serve for another one."""
        self._why = why
        channel.end(why)

    # --- calls ---------------------------------------------------------------------------------

    async def call(self, name: str, /, *, timeout_s: float = CALL_S, **fields: object) -> Message:
        """One question, one answer.

        Raises:
            Unavailable: no member answered in time, or the cluster has no quorum.
            Refused: this certificate may not. Invalid, Exhausted, Internal: as etcd says.
        """
        path, request_name, answer_name = method(name)
        data = message(request_name, **fields).SerializeToString()
        with trio.move_on_after(timeout_s):
            while True:
                channel = await self._connected()
                try:
                    return parse_message(answer_name, await _ask(channel, path, data, name))
                except (Lost, Malformed) as exc:
                    self._why = str(exc)
                    if name not in READS:
                        raise self._unavailable(name, "the connection was lost meanwhile") from exc
                except Unavailable as exc:
                    self._move_on(channel, str(exc))
                    if name not in READS:
                        raise
        raise self._unavailable(name, f"no answer within {timeout_s:g} s")

    def _unavailable(self, name: str, why: str) -> Unavailable:
        members = " ".join(f"{host}:{port}" for host, port in self._members)
        return Unavailable(
            f"the cluster's store does not answer ({name}): {why}; running containers go on",
            members=members,
            reason=self._why,
        )

    @asynccontextmanager
    async def stream(self, name: str, /, *, has_leader: bool = True) -> AsyncIterator["Stream"]:
        """A call of many messages, on whatever member answers now.

        Raises:
            Unavailable: nobody answers, or the call was ended; the next call goes to another one.
        """
        path, request_name, answer_name = method(name)
        with trio.move_on_after(CALL_S) as limit:
            channel = await self._connected()
        if limit.cancelled_caught:
            raise self._unavailable(name, f"no connection within {CALL_S:g} s")
        try:
            async with channel.call(path, has_leader=has_leader) as call:
                yield Stream(call, request_name, answer_name)
        except Lost as exc:
            raise self._unavailable(name, str(exc)) from exc
        except Unavailable as exc:  # this member cannot serve: it has no leader, or ends
            self._move_on(channel, str(exc))
            raise


class Stream:
    """Messages of one call."""

    def __init__(self, call: Call, request_name: str, answer_name: str) -> None:
        self._call = call
        self._request_name = request_name
        self._answer_name = answer_name

    async def send(self, **fields: object) -> None:
        """Send one message. Raises Lost, which the stream's block makes Unavailable."""
        await self._call.send(message(self._request_name, **fields).SerializeToString())

    async def receive(self) -> Message:
        """The next message.

        Raises:
            Unavailable, Refused, …: the server ended the call; a good end is Unavailable, too.
        """
        data = await self._call.receive()
        if data is None:
            code, text = self._call.status or (UNAVAILABLE, "")
            raise status_error(code or UNAVAILABLE, text or "ended", self._answer_name)
        try:
            return parse_message(self._answer_name, data)
        except Malformed as exc:
            raise Lost(str(exc)) from exc


async def _ask(channel: Channel, path: str, data: bytes, name: str) -> bytes:
    async with channel.call(path) as call:
        await call.send(data, last=True)
        answer = await call.receive()
        if answer is not None and await call.receive() is not None:
            raise Lost(f"two answers to {name}")
        code, text = call.status or (UNAVAILABLE, "")
        if code != OK:
            raise status_error(code, text, f"the cluster's store refused ({name})")
        if answer is None:
            raise Lost(f"no answer to {name}")
        return answer


def _reason(exc: BaseException) -> str:
    if isinstance(exc, trio.TooSlowError):
        return f"no connection within {CONNECT_S:g} s"
    cause = exc.__cause__ or exc
    return str(cause) or type(cause).__name__


@asynccontextmanager
async def open_client(
    members: Sequence[Address], context: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[EtcdClient]:
    """A client that connects when it is first asked. Nothing here waits for the cluster."""
    client = EtcdClient(members, context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            yield client
        finally:
            nursery.cancel_scope.cancel()
