"""127.0.0.11 of every sandbox, served by this process's loop.

A query seen before costs one dictionary look-up and two bytes patched; the key is everything
after the id, so flags, case and EDNS of the asker are right in the kept answer without a look.
An upstream's answer is kept so for one second, while its TTLs stay as they are.
Datagrams are taken in small batches (64 at a time made RPC's p99 four times longer, 2026-11).
"""

import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

import trio

from netdrivers.contract.names import DnsTable, Latency, UpstreamCounts
from netdrivers.dns import message, namespace
from netdrivers.dns.cache import Found
from netdrivers.dns.counts import Counts
from netdrivers.dns.forward import Forwarder
from netdrivers.dns.message import Answer, Malformed, Query
from netdrivers.dns.prepared import Prepared
from netdrivers.dns.records import Records, differing
from netdrivers.dns.resolver import Failure, Forward, resolve
from netdrivers.dns.route import Route, route_of
from netdrivers.keep import Keep, dns_name

TTL_S: Final = 2  # a container that is re-created is found at its new address by then
BATCH: Final = 16
QUERY_BYTES: Final = 4096
STREAM_BYTES: Final = 512  # about a batch of queries
MAX_STREAMS: Final = 32  # TCP connections per sandbox
STREAM_IDLE_S: Final = 10.0
DRAIN_S: Final = 5.0  # for what was taken to be answered; an upstream has 4 s


@dataclass(slots=True, eq=False)
class Sandbox:
    """One sandbox that is served."""

    id: str
    netns: Path
    udp: socket.socket
    tcp: socket.socket
    records: Records
    route: Route
    kept: Prepared = field(default_factory=Prepared)
    kept_whole: Prepared = field(default_factory=Prepared)  # for streams: never cut
    streams: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    taking: trio.CancelScope = field(default_factory=trio.CancelScope)  # of new queries
    ended: trio.Event = field(default_factory=trio.Event)

    def swap(self, table: DnsTable) -> None:
        """Answer from ``table`` from now on."""
        self.records = Records(table, self.id)
        self.route = route_of(self.records.view, self.netns)
        self.kept, self.kept_whole = Prepared(), Prepared()


class DnsServer:
    """The ``NameServer`` of the agent.

    Args:
        upstream_port: where upstreams listen.
        deadline_s: how long an upstream may take before the asker gets SERVFAIL.
        now: the clock by which answers age, in seconds; never goes back.
        keep: has the sockets that a former agent left, and is told which are open.
    """

    def __init__(
        self,
        *,
        upstream_port: int = 53,
        deadline_s: float = 4.0,
        now: Callable[[], float] = trio.current_time,
        keep: Keep | None = None,
    ) -> None:
        self._counts = Counts()
        self._forwarder = Forwarder(
            self._counts, port=upstream_port, deadline_s=deadline_s, now=now
        )
        self._now = now
        self._table = DnsTable()
        self._sandboxes: dict[str, Sandbox] = {}
        self._keep = keep or Keep()
        self._told = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Serve until cancelled or drained. Sockets may be opened before or while it runs.

        Queries wait for the first table: without it every answer would be wrong.
        """
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._forwarder.run)
                await self._told.wait()
                self._nursery = nursery
                for box in self._sandboxes.values():
                    nursery.start_soon(self._serve, box)
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for box in self._sandboxes.values():
                self._end(box)
            self._sandboxes.clear()

    async def drain(self) -> None:
        """Take no more queries, answer those that were taken, and end ``run``."""
        nursery = self._nursery
        if nursery is None:
            return
        for box in self._sandboxes.values():
            box.taking.cancel()
        with trio.move_on_after(DRAIN_S):
            for box in list(self._sandboxes.values()):
                await box.ended.wait()
        nursery.cancel_scope.cancel()

    def open(self, sandbox_id: str, netns: Path, port: int) -> int:
        """Bind udp and tcp 127.0.0.11 in the sandbox, on ``port`` if free (0 = any); return it.

        Sockets that a former agent left for it are taken over. A sandbox that is open already is
        opened anew.

        Raises:
            Missing: no such namespace. Refused: it is none of network.
            Unavailable: the kernel said no.
            Exhausted: no port was free for both protocols.
        """
        self.close(sandbox_id)
        udp, tcp = namespace.take_pair(self._keep, sandbox_id, netns, port) or namespace.bind_pair(
            netns, port
        )
        self._keep.put(dns_name("udp", sandbox_id), udp.fileno())
        self._keep.put(dns_name("tcp", sandbox_id), tcp.fileno())
        records = Records(self._table, sandbox_id)
        box = Sandbox(sandbox_id, netns, udp, tcp, records, route_of(records.view, netns))
        self._sandboxes[sandbox_id] = box
        if self._nursery is not None:
            self._nursery.start_soon(self._serve, box)
        return int(udp.getsockname()[1])

    def close(self, sandbox_id: str) -> None:
        """Stop serving the sandbox. Idempotent."""
        box = self._sandboxes.pop(sandbox_id, None)
        if box is not None:
            self._end(box)
            self._keep.drop(dns_name("udp", sandbox_id))
            self._keep.drop(dns_name("tcp", sandbox_id))

    def _end(self, box: Sandbox) -> None:
        # Cancel first: it takes the sockets out of the poll set before they are closed.
        box.scope.cancel()
        box.udp.close()
        box.tcp.close()
        if box.route.netns is not None:
            self._forwarder.forget(box.route)  # the next namespace at this path is another

    def served(self) -> Collection[str]:
        """Sandboxes that have been opened and not closed."""
        return self._sandboxes.keys()

    def set_table(self, table: DnsTable) -> None:
        """Swap the table; the next query sees it. Who sees no change keeps what is prepared."""
        zones = differing(self._table.zones, table.zones)
        views = differing(self._table.views, table.views)
        self._table = table
        self._told.set()
        for box in self._sandboxes.values():
            if box.id in views or not zones.isdisjoint(box.records.view.zones):
                box.swap(table)
        if views:
            self._forwarder.keep_only({box.route for box in self._sandboxes.values()})

    def statistics(self) -> Mapping[tuple[str, str], int]:
        """(result, source) -> count."""
        return self._counts.statistics()

    def latency(self) -> Latency:
        """Of answers; a batch's answers share its mean."""
        return self._counts.latency()

    def upstreams(self) -> Mapping[str, UpstreamCounts]:
        """What came of asking each upstream."""
        return self._counts.upstreams.statistics()

    def dropped(self) -> Mapping[str, int]:
        """What was turned away, by reason."""
        return dict(self._counts.dropped)

    def cache_entries(self) -> int:
        """Answers of upstreams that are kept."""
        return len(self._forwarder)

    # --- one sandbox ------------------------------------------------------------------------

    async def _serve(self, box: Sandbox) -> None:
        """Serve until closed; once it takes no more, until all that was taken is answered."""
        with box.scope:
            async with trio.open_nursery() as answering:
                with box.taking:
                    async with trio.open_nursery() as taking:
                        taking.start_soon(self._serve_udp, box, answering)
                        taking.start_soon(self._serve_tcp, box, answering)
        box.ended.set()

    async def _serve_udp(self, box: Sandbox, nursery: trio.Nursery) -> None:
        while True:
            # once closed, the socket cannot even be waited for
            await trio.lowlevel.checkpoint_if_cancelled()
            await trio.lowlevel.wait_readable(box.udp)
            started = trio.current_time()
            answered = self._take_batch(box, nursery)
            if answered:
                self._counts.took((trio.current_time() - started) / answered, answered)

    def _take_batch(self, box: Sandbox, nursery: trio.Nursery) -> int:
        """Answer at most ``BATCH`` datagrams; how many were answered at once."""
        receive, send, now = box.udp.recvfrom, box.udp.sendto, self._now()
        kept = box.kept.answers
        answered = 0
        for _ in range(BATCH):
            try:
                packet, peer = receive(QUERY_BYTES)
            except OSError:  # drained; or an error the kernel kept for this socket
                break
            hit = kept.get(packet[2:])
            if hit is None or hit.until <= now:
                reply = self._answer_datagram(box, packet, peer, nursery)
                if reply is None:
                    continue
            else:
                hit.tally[0] += 1
                reply = packet[:2] + next(hit.turns)
            answered += 1
            try:
                send(reply, peer)
            except OSError:  # its buffer is full or its filter says no: the asker asks again
                self._counts.dropped["send"] += 1
        return answered

    def _answer_datagram(
        self, box: Sandbox, packet: bytes, peer: object, nursery: trio.Nursery
    ) -> bytes | None:
        query = message.parse_query(packet)
        if query is None:
            return None
        limit = query.udp_bytes if isinstance(query, Query) else 0
        reply = self._prepare(box, box.kept, packet, query, limit)
        if isinstance(reply, Query):
            nursery.start_soon(self._forward_datagram, box, reply, peer)
            return None
        return reply

    def _prepare(
        self,
        box: Sandbox,
        kept: Prepared,
        packet: bytes,
        query: Query | Malformed,
        limit: int,
    ) -> bytes | Query:
        """The reply, kept for the next who asks the same; or the query that upstreams must see."""
        verdict = resolve(query, box.records)
        if isinstance(verdict, Forward):
            found = self._forwarder.recall(verdict.query, box.route)
            if found is None:
                return verdict.query
            return self._prepare_found(kept, packet, verdict.query, found, limit)
        turns = _build(query, verdict, limit)
        tally = self._counts.tally(message.result_of(turns[0]), "local")
        tally[0] += 1
        if isinstance(verdict, Answer):
            # the first turn is given now
            kept.keep(packet, [*turns[1:], turns[0]], tally, until=inf)
        return turns[0]

    def _prepare_found(
        self, kept: Prepared, packet: bytes, query: Query, found: Found, limit: int
    ) -> bytes:
        reply = message.adapt_reply(found.reply, query, limit)
        source = "stale" if found.is_stale else "cache"
        tally = self._counts.tally(message.result_of(reply), source)
        tally[0] += 1
        if not found.is_stale:
            kept.keep(packet, [reply], tally, until=found.holds_until)
        return reply

    async def _forward_datagram(self, box: Sandbox, query: Query, peer: object) -> None:
        reply = await self._forward(box, query, query.udp_bytes)
        try:
            box.udp.sendto(reply, peer)  # type: ignore[call-overload]
        except OSError:
            self._counts.dropped["send"] += 1

    async def _forward(self, box: Sandbox, query: Query, max_bytes: int) -> bytes:
        started = trio.current_time()
        told = await self._forwarder.ask(box.id, query, box.route, max_bytes=max_bytes)
        self._counts.tally(message.result_of(told.reply), told.source)[0] += 1
        self._counts.took(trio.current_time() - started, 1)
        return told.reply

    # --- tcp --------------------------------------------------------------------------------

    async def _serve_tcp(self, box: Sandbox, nursery: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(box.tcp))

        async def handle(stream: trio.SocketStream) -> None:
            await self._serve_stream(box, stream)

        # it is closed under us by ``close``, maybe just when a connection came
        with suppress(trio.ClosedResourceError):
            await trio.serve_listeners(handle, [listener], handler_nursery=nursery)

    async def _serve_stream(self, box: Sandbox, stream: trio.SocketStream) -> None:
        """Answer one connection's queries in turn; over the bound it is closed at once."""
        async with stream:
            if box.streams >= MAX_STREAMS:
                self._counts.dropped["streams"] += 1
                return
            box.streams += 1
            try:
                await self._answer_stream(box, stream)
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
            finally:
                box.streams -= 1

    async def _answer_stream(self, box: Sandbox, stream: trio.SocketStream) -> None:
        frames = message.Frames()
        while True:
            with trio.fail_after(STREAM_IDLE_S):
                chunk = await stream.receive_some(STREAM_BYTES)
            if not chunk or not await self._answer_chunk(box, stream, frames.feed(bytes(chunk))):
                return

    async def _answer_chunk(
        self, box: Sandbox, stream: trio.SocketStream, packets: Iterable[bytes]
    ) -> bool:
        """Answer what came at once in one go, in order; False if there was what is no query."""
        ready = bytearray()
        for packet in packets:
            reply = self._answer_whole(box, packet)
            if isinstance(reply, Query):
                await _send(stream, ready)
                reply = await self._forward(box, reply, message.MAX_BYTES)
            if reply is None:
                await _send(stream, ready)
                return False
            ready += message.build_frame(reply)
        await _send(stream, ready)
        return True

    def _answer_whole(self, box: Sandbox, packet: bytes) -> bytes | Query | None:
        """The reply as it goes into a stream; the query if upstreams must be asked."""
        started = trio.current_time()
        hit = box.kept_whole.answers.get(packet[2:])
        reply: bytes | Query
        if hit is None or hit.until <= self._now():
            query = message.parse_query(packet)
            if query is None:
                return None
            reply = self._prepare(box, box.kept_whole, packet, query, message.MAX_BYTES)
            if isinstance(reply, Query):
                return reply
        else:
            hit.tally[0] += 1
            reply = packet[:2] + next(hit.turns)
        self._counts.took(trio.current_time() - started, 1)
        return reply


async def _send(stream: trio.SocketStream, ready: bytearray) -> None:
    """Send what is ready, and empty it."""
    if ready:
        with trio.fail_after(STREAM_IDLE_S):
            await stream.send_all(bytes(ready))
        ready.clear()


def _build(query: Query | Malformed, verdict: Answer | Failure, limit: int) -> list[bytes]:
    """All turns of the reply."""
    if isinstance(verdict, Failure):
        return [message.build_error(query, verdict.rcode, verdict.reason)]
    if isinstance(query, Malformed):
        return [message.build_error(query, query.rcode)]
    return message.build_answers(query, verdict, ttl_s=TTL_S, max_bytes=limit)
