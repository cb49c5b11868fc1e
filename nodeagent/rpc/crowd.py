"""How many may be at a door at once, and how often one may knock. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

MAX_PACES: Final = 4096  # addresses that are remembered; the one that asked longest ago goes


class Crowd:
    """Those who are at a door, by address. A newcomer is let in at the cost of another.

    Who must go is the one that came first from the address that has the most there: a flood makes
    room out of itself, and who needs a few milliseconds is rarely hit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._there: OrderedDict[object, tuple[str, Callable[[], None]]] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self.evicted = 0

    def enter(self, who: object, address: str, evict: Callable[[], None]) -> None:
        """Be there until ``leave``. ``evict`` is called if it is to be left at once."""
        if len(self._there) >= self._limit:
            self._make_room(address)
        self._there[who] = (address, evict)
        self._counts[address] += 1

    def leave(self, who: object) -> None:
        """Be there no more."""
        if who not in self._there:  # it was evicted
            return
        address, _ = self._there.pop(who)
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]

    def _make_room(self, newcomer: str) -> None:
        most = max(self._counts, key=lambda each: self._counts[each] + (each == newcomer))
        who = next(each for each, (address, _) in self._there.items() if address == most)
        _, evict = self._there[who]
        self.leave(who)
        self.evicted += 1
        evict()


class Pace:
    """How often each address may do something: ``burst`` at once, then one each ``every_s``."""

    def __init__(self, *, burst: int, every_s: float) -> None:
        self._span_s = burst * every_s
        self._every_s = every_s
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when all of the burst is back

    def may(self, address: str, now: float) -> bool:
        """Whether it may now; if so, it did."""
        free_at = max(self._free_at.get(address, now), now)
        if free_at + self._every_s - now > self._span_s + 1e-9:
            return False
        self._free_at[address] = free_at + self._every_s
        self._free_at.move_to_end(address)
        while len(self._free_at) > MAX_PACES:
            self._free_at.popitem(last=False)
        return True
