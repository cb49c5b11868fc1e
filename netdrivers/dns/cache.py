"""What upstreams said, for as long as they said it holds, and a while longer if they fall silent.

Pure: the time is an argument. Answers of one route never reach another. Bounded over all routes;
at the bound the route that holds most gives up what it has not used for longest, so a container
that asks its own servers for endless names pushes out none but its own.

After its time a positive answer is stale: good only if asking again brought nothing (RFC 8767). A
stale "no such name" is never given: a failure is retried by its asker, a denial is believed.

Source: RFC 1035 section 7.4, RFC 2308, RFC 8767.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from netdrivers.dns.lifetime import Lifetime, build_again, parse_lifetime
from netdrivers.dns.message import CD, DO, Query
from netdrivers.dns.route import Route

MAX_ANSWERS: Final = 4096  # over all routes; at most 20 MiB, usually about 2.5
MAX_ANSWER_BYTES: Final = 4096
MAX_STALE_S: Final = 86_400  # RFC 8767 section 5 suggests one to three days
STALE_TTL_S: Final = 30  # section 5, to keep askers from coming back at once
RECHECK_S: Final = 30.0  # section 5: after a failure, ask no more often than this

# What makes the upstream's reply to a question what it is: name, type and class, and whether it
# was asked with EDNS, for DNSSEC records, without checks.
Asked = tuple[bytes, bytes, bool, bool, bool]


def asked_of(query: Query) -> Asked:
    """Which answers a query may share: the same for every case of its letters."""
    edns = query.edns
    # not all of the question in lower case: type 65 and type 97 would be one
    name, kind = query.question[:-4].lower(), query.question[-4:]
    return name, kind, edns is not None, bool(edns and edns.flags & DO), bool(query.flags & CD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A kept reply, its TTLs as of now (the id and the question's case are not the asker's).

    ``holds_until``: it changes then. ``is_stale``: its time is over. ``must_ask``: ask first, and
    give it only if that fails.
    """

    reply: bytes
    holds_until: float
    is_stale: bool = False
    must_ask: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    reply: bytes
    lifetime: Lifetime
    since: float
    retry_at: float = 0.0

    def found_at(self, now: float) -> Found | None:
        age_s = int(now - self.since)
        overdue_s = now - self.since - self.lifetime.keep_s
        if overdue_s < 0:
            reply = build_again(self.reply, self.lifetime, self.lifetime.keep_s - age_s)
            return Found(reply=reply, holds_until=self.since + age_s + 1)
        if self.lifetime.is_negative or overdue_s >= MAX_STALE_S:
            return None
        reply = build_again(self.reply, self.lifetime, STALE_TTL_S)
        return Found(reply=reply, holds_until=now, is_stale=True, must_ask=now >= self.retry_at)


class Cache:
    """Replies by route and question."""

    def __init__(self, *, max_answers: int = MAX_ANSWERS) -> None:
        self._max_answers = max_answers
        self._stores: dict[Route, OrderedDict[Asked, _Entry]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def find(self, route: Route, asked: Asked, now: float) -> Found | None:
        """What is known, fresh or stale; what is too old for either goes."""
        store = self._stores.get(route)
        entry = store.get(asked) if store else None
        if store is None or entry is None:
            return None
        found = entry.found_at(now)
        if found is None:
            self._drop(route, asked)
        else:
            store.move_to_end(asked)
        return found

    def put(self, route: Route, asked: Asked, reply: bytes, now: float) -> None:
        """Keep what an upstream knows. One that may not be kept still ends what was kept."""
        self._drop(route, asked)
        if len(reply) > MAX_ANSWER_BYTES:
            return
        lifetime = parse_lifetime(reply, int.from_bytes(asked[1][:2]))
        if lifetime is None:
            return
        store = self._stores.setdefault(route, OrderedDict())
        store[asked] = _Entry(reply=reply, lifetime=lifetime, since=now)
        self._size += 1
        while self._size > self._max_answers:
            largest = max(self._stores, key=lambda each: len(self._stores[each]))
            self._drop(largest, next(iter(self._stores[largest])))

    def note_failure(self, route: Route, asked: Asked, now: float) -> None:
        """Upstreams brought nothing: a stale answer is given at once for a while."""
        store = self._stores.get(route, OrderedDict())
        if asked in store:
            store[asked] = replace(store[asked], retry_at=now + RECHECK_S)

    def keep_only(self, routes: Collection[Route]) -> None:
        """Forget what no one asks any more."""
        for route in self._stores.keys() - routes:
            self.forget(route)

    def forget(self, route: Route) -> None:
        """Forget all answers of a route."""
        self._size -= len(self._stores.pop(route, ()))

    def _drop(self, route: Route, asked: Asked) -> None:
        store = self._stores.get(route)
        if store is None or store.pop(asked, None) is None:
            return
        self._size -= 1
        if not store:
            del self._stores[route]
