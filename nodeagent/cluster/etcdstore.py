"""The shared store in etcd: keys below one prefix; a revision is etcd's own."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import ceil
from typing import Final, Self

import trio
from google.protobuf.message import Message

from nodeagent.cluster.etcd.channel import Lost
from nodeagent.cluster.etcd.client import EtcdClient, Stream
from nodeagent.cluster.etcd.messages import DELETE, EQUAL, MOD, message, range_end
from nodeagent.errors import AgentError, Missing, Unavailable
from nodeagent.state.store import (
    Change,
    Compacted,
    Conflict,
    Delete,
    Put,
    Row,
    check_keys,
    check_ops,
)

log = logging.getLogger(__name__)

PREFIX: Final = "/nodeagent/"
PAGE_ROWS: Final = 1000  # of one read; etcd answers no more than some MiB at once
RENEW_S: Final = 3.0  # for one renewal; a guess
AGAIN_S: Final = 0.2  # until a watch that broke is opened anew
_GONE: Final = "requested lease not found"


class EtcdStore:
    """``nodeagent.state.store.SharedStore`` on an etcd client."""

    def __init__(self, client: EtcdClient, prefix: str = PREFIX) -> None:
        self._client = client
        self._prefix = prefix
        self._closed = False

    def _key(self, key: str) -> bytes:
        if self._closed:
            raise Unavailable("the cluster's store is closed")
        return (self._prefix + key).encode()

    async def commit(self, *ops: Put | Delete) -> int:
        """One transaction; see the contract."""
        check_ops(ops)
        expected = [op for op in ops if op.expect is not None]
        answer = await self._client.call(
            "Txn",
            compare=[
                message("Compare", result=EQUAL, target=MOD, key=self._key(op.key),
                        mod_revision=op.expect)
                for op in expected
            ],
            success=[self._request(op) for op in ops] or [self._look("")],
            failure=[self._look(op.key) for op in expected],
        )  # fmt: skip
        if not answer.succeeded:
            raise self._conflict(expected, answer)
        return int(answer.header.revision)

    def _request(self, op: Put | Delete) -> Message:
        key = self._key(op.key)
        if isinstance(op, Delete):
            return message("RequestOp", request_delete_range=message("DeleteRangeRequest", key=key))
        put = message("PutRequest", key=key, value=op.value, lease=op.lease)
        return message("RequestOp", request_put=put)

    def _look(self, key: str) -> Message:
        found = message("RangeRequest", key=self._key(key), keys_only=True)
        return message("RequestOp", request_range=found)

    def _conflict(self, expected: Sequence[Put | Delete], answer: Message) -> Conflict:
        have = [
            each.response_range.kvs[0].mod_revision if each.response_range.kvs else 0
            for each in answer.responses
        ]
        for op, revision in zip(expected, have, strict=True):
            if op.expect != revision:
                return Conflict(key=op.key, expect=op.expect or 0, revision=revision)
        return Conflict(key=expected[0].key, expect=expected[0].expect or 0, revision=have[0])

    async def read(self, prefix: str) -> list[Row]:
        """All rows below the prefix, of one moment, however many pages that takes."""
        start, end = self._key(prefix), range_end(self._key(prefix))
        rows: list[Row] = []
        revision = 0
        while True:
            answer = await self._client.call(
                "Range", key=start, range_end=end, limit=PAGE_ROWS, revision=revision
            )
            rows += [self._row(each) for each in answer.kvs]
            if not answer.more:
                return rows
            revision = revision or answer.header.revision
            start = answer.kvs[-1].key + b"\0"

    async def get(self, key: str) -> Row | None:
        """One row, or None."""
        check_keys([key])
        answer = await self._client.call("Range", key=self._key(key))
        return self._row(answer.kvs[0]) if answer.kvs else None

    def _row(self, kv: Message) -> Row:
        return Row(kv.key.decode().removeprefix(self._prefix), kv.value, kv.mod_revision)

    async def close(self) -> None:
        """Refuse all that comes; the client is its opener's."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    # --- watch ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(
        self, prefix: str, *, after: int
    ) -> AsyncIterator[AsyncIterator[tuple[Change, ...]]]:
        """See the contract. The stream is opened anew from the last change that was seen."""
        changes = _Changes(self._client, self._key(prefix), self._row, after + 1)
        try:
            yield changes
        finally:
            with trio.CancelScope(shield=True):  # it only tells the server
                await changes.aclose()

    # --- leases --------------------------------------------------------------------------------

    async def grant(self, ttl_s: float) -> int:
        """See the contract; etcd counts whole seconds."""
        answer = await self._client.call("LeaseGrant", TTL=max(1, ceil(ttl_s)))
        return int(answer.ID)

    async def renew(self, lease: int) -> float:
        """See the contract."""
        with trio.move_on_after(RENEW_S):
            async with self._client.stream("LeaseKeepAlive", has_leader=False) as stream:
                await stream.send(ID=lease)
                answer = await stream.receive()
                if answer.TTL <= 0:
                    raise Missing("the lease has ended", lease=lease)
                return float(answer.TTL)
        raise Unavailable("the cluster's store did not renew the lease in time", lease=lease)

    async def revoke(self, lease: int) -> None:
        """See the contract."""
        try:
            await self._client.call("LeaseRevoke", ID=lease)
        except AgentError as exc:
            if _GONE not in str(exc):
                raise


class _Changes:
    """Changes one answer after the other, over any number of streams."""

    def __init__(
        self, client: EtcdClient, prefix: bytes, build_row: Callable[[Message], Row], start: int
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._build_row = build_row
        self._start = start
        self._held = AsyncExitStack()
        self._stream: Stream | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Change, ...]:
        while True:
            try:
                revision, found = await self._next(self._stream or await self._open())
            except (Unavailable, Lost) as exc:
                await self._fail(exc)
                continue
            self._start = max(self._start, revision + 1)
            if found:
                return found

    async def _open(self) -> Stream:
        stream = await self._held.enter_async_context(self._client.stream("Watch"))
        await stream.send(
            create_request=message(
                "WatchCreate",
                key=self._prefix,
                range_end=range_end(self._prefix),
                start_revision=self._start,
                progress_notify=True,
                fragment=True,
            )
        )
        self._stream = stream
        return stream

    async def _fail(self, exc: BaseException) -> None:
        """The stream's end is told to its client, which goes on to another member."""
        log.info("a watch of the cluster's store is opened anew", extra={"why": str(exc)})
        self._stream = None
        with suppress(Unavailable):  # what the client makes of it
            await self._held.__aexit__(type(exc), exc, exc.__traceback__)
        await trio.sleep(AGAIN_S)

    async def _next(self, stream: Stream) -> tuple[int, tuple[Change, ...]]:
        """(revision that is complete, changes) of the next answer and its fragments."""
        changes: list[Change] = []
        while True:
            answer = await stream.receive()
            if answer.compact_revision:
                raise Compacted("the changes since then are gone", oldest=answer.compact_revision)
            if answer.canceled:
                raise Unavailable(f"the watch was ended: {answer.cancel_reason}")
            if answer.created:
                if answer.header.revision < self._start - 1:  # restored from a backup, maybe
                    raise Compacted("the store knows less than was seen", seen=self._start - 1)
                continue
            changes += [self._change(each) for each in answer.events]
            if not answer.fragment:
                return answer.header.revision, tuple(changes)

    def _change(self, event: Message) -> Change:
        row = self._build_row(event.kv)
        return Change(row.key, None if event.type == DELETE else row, row.revision)

    async def aclose(self) -> None:
        """Let the server know that nobody listens."""
        await self._held.aclose()
