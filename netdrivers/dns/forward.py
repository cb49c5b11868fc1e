"""Asking upstreams: all at once, first good answer wins, under a deadline and a bound.

Who asks what is being asked already waits for that answer, which also ends every loop: a question
that comes back to us by way of others waits for itself, up to its deadline. What was answered
lately is not asked at all; and when upstreams fail, or take long, what they said before is better
than nothing (RFC 8767).
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Final

import trio

from netdrivers.dns import message, upstream
from netdrivers.dns.cache import Asked, Cache, Found, asked_of
from netdrivers.dns.counts import Counts
from netdrivers.dns.message import Query, Rcode
from netdrivers.dns.route import Route
from netdrivers.dns.upstream import Outcome

DEADLINE_S: Final = 4.0  # below the 5 s after which libc asks again
PATIENCE_S: Final = 1.8  # RFC 8767 section 5
MAX_FLIGHTS: Final = 512  # questions under way, all sandboxes together
MAX_WAITING_PER_SANDBOX: Final = 128
INSIDE: Final = "container"  # how servers that containers brought are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A reply and where it is from: forwarded, cache or stale."""

    reply: bytes
    source: str


@dataclass(slots=True, eq=False)
class Flight:
    """One question under way, whoever waits for it."""

    started: float
    done: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    reply: bytes | None = None


class Forwarder:
    """Asks upstreams. Over its bounds it refuses at once instead of queueing.

    Args:
        counts: where it is noted what came of it.
        patience_s: how long to wait before a stale answer is given, if there is one.
        now: the clock by which answers age, in seconds; never goes back.
    """

    def __init__(
        self,
        counts: Counts,
        *,
        port: int = 53,
        deadline_s: float = DEADLINE_S,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self._counts = counts
        self._port = port
        self._deadline_s = deadline_s
        self._patience_s = patience_s
        self._now = now
        self._cache = Cache()
        self._flights: dict[tuple[Route, Asked], Flight] = {}
        self._waiting: dict[str, int] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry the questions under way until cancelled. They outlive those who asked."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def __len__(self) -> int:
        """Answers kept."""
        return len(self._cache)

    def recall(self, query: Query, route: Route) -> Found | None:
        """What may be answered without asking anybody."""
        found = self._cache.find(route, asked_of(query), self._now())
        return found if found and not found.must_ask else None

    async def ask(self, sandbox_id: str, query: Query, route: Route, *, max_bytes: int) -> Told:
        """The reply for the asker: an upstream's, SERVFAIL, or REFUSED when too much is asked.

        Cancel: the question goes on for the others who wait for it, up to its deadline.
        """
        asked = asked_of(query)
        found = self._cache.find(route, asked, self._now())
        if found and not found.must_ask:
            return _told_again(found, query, max_bytes)
        flight = self._join(sandbox_id, query, (route, asked))
        if flight is not None:
            await self._wait(sandbox_id, flight, until_s=self._patience_s if found else inf)
            if flight.reply is not None:
                reply = message.adapt_reply(flight.reply, query, max_bytes)
                return Told(reply=reply, source="forwarded")
        if found:
            return _told_again(found, query, max_bytes)
        rcode = Rcode.REFUSED if flight is None else Rcode.SERVFAIL
        return Told(reply=message.build_error(query, rcode), source="forwarded")

    def keep_only(self, routes: Collection[Route]) -> None:
        """Forget what was heard on other routes than these."""
        self._cache.keep_only(routes)

    def forget(self, route: Route) -> None:
        """End what is under way on a route and forget what was heard there."""
        for key in [each for each in self._flights if each[0] == route]:
            self._flights.pop(key).scope.cancel()
        self._cache.forget(route)

    def _join(self, sandbox_id: str, query: Query, key: tuple[Route, Asked]) -> Flight | None:
        """The flight of this question, a new one if there is none; None = over the bounds."""
        if self._waiting.get(sandbox_id, 0) >= MAX_WAITING_PER_SANDBOX:
            self._counts.dropped["sandbox"] += 1
            return None
        flight = self._flights.get(key)
        if flight is not None or not self._nursery:
            return flight
        if len(self._flights) >= MAX_FLIGHTS:
            self._counts.dropped["questions"] += 1
            return None
        flight = self._flights[key] = Flight(trio.current_time())
        self._nursery.start_soon(self._fly, flight, query, key)
        return flight

    async def _wait(self, sandbox_id: str, flight: Flight, *, until_s: float) -> None:
        """Wait for the flight's end, or until it has lasted ``until_s``."""
        with self._counted(sandbox_id), trio.move_on_at(flight.started + until_s):
            await flight.done.wait()

    @contextmanager
    def _counted(self, sandbox_id: str) -> Iterator[None]:
        self._waiting[sandbox_id] = self._waiting.get(sandbox_id, 0) + 1
        try:
            yield
        finally:
            self._waiting[sandbox_id] -= 1
            if not self._waiting[sandbox_id]:
                del self._waiting[sandbox_id]

    async def _fly(self, flight: Flight, query: Query, key: tuple[Route, Asked]) -> None:
        """Ask, and remember what came of it."""
        try:
            with flight.scope:
                flight.reply = await self._race(query, key[0])
                if flight.scope.cancel_called:
                    return  # what is being forgotten is not to come back
                if flight.reply is None:
                    self._cache.note_failure(*key, self._now())
                else:
                    self._cache.put(*key, flight.reply, self._now())
        finally:
            if self._flights.get(key) is flight:  # else it is forgotten, and maybe asked anew
                del self._flights[key]
            flight.done.set()

    async def _race(self, query: Query, route: Route) -> bytes | None:
        """First reply that knows; None if there is none before the deadline."""
        started = trio.current_time()
        won: list[bytes] = []
        still = set(route.upstreams)
        with trio.move_on_after(self._deadline_s):
            async with trio.open_nursery() as nursery:

                async def run(address: str) -> None:
                    heard = await upstream.ask(address, self._port, query, route.netns)
                    still.discard(address)
                    self._counts.dropped["guesses"] += heard.guesses
                    self._note(address, route, heard.outcome, started)
                    if heard.reply is not None and heard.outcome == "answered":
                        won.append(heard.reply)
                        nursery.cancel_scope.cancel()

                for address in route.upstreams:
                    nursery.start_soon(run, address)
        for address in still:
            self._note(address, route, "outrun" if won else "timeout", started)
        return won[0] if won else None

    def _note(self, address: str, route: Route, outcome: Outcome, started: float) -> None:
        # 127.0.0.1 inside is another server in each sandbox, and there may be many sandboxes
        name = INSIDE if route.netns else address
        self._counts.upstreams.note(name, outcome, trio.current_time() - started)


def _told_again(found: Found, query: Query, max_bytes: int) -> Told:
    reply = message.adapt_reply(found.reply, query, max_bytes)
    return Told(reply=reply, source="stale" if found.is_stale else "cache")
