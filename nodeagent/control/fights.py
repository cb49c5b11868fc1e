"""Objects that somebody else keeps changing: mended on, but ever less often. Pure."""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

OFTEN: Final = 11  # repairs of one object: more than anybody does by hand …
WITHIN_S: Final = 30.0  # … in this time are a fight
FIRST_S: Final = 4.0  # between two repairs of it from then on, doubled with each
LONGEST_S: Final = 60.0
PEACE_S: Final = 180.0  # without a repair it is forgotten; all are guesses


@dataclass(slots=True)
class _Fight:
    repairs: deque[float] = field(default_factory=lambda: deque(maxlen=OFTEN))
    wait_s: float = 0.0  # 0: it is none yet

    @property
    def due(self) -> float:
        return self.repairs[-1] + self.wait_s


class Fights:
    """Remembers repairs by object, for as long as they may matter."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Fight] = {}

    def is_due(self, key: Hashable, now: float) -> bool:
        """Whether the object may be mended now."""
        fight = self._known.get(key)
        return fight is None or now >= fight.due

    def note(self, keys: Iterable[Hashable], now: float) -> list[Hashable]:
        """Objects were mended; those about which a fight has begun with it."""
        self._known = {
            key: each for key, each in self._known.items() if now - each.repairs[-1] < PEACE_S
        }
        begun = []
        for key in dict.fromkeys(keys):
            fight = self._known.setdefault(key, _Fight())
            fight.repairs.append(now)
            if fight.wait_s:
                fight.wait_s = min(fight.wait_s * 2, LONGEST_S)
            elif len(fight.repairs) == OFTEN and now - fight.repairs[0] <= WITHIN_S:
                fight.wait_s = FIRST_S
                begun.append(key)
        return begun

    def wait_s(self, keys: Iterable[Hashable], now: float) -> float:
        """Seconds until the first of these may be mended; infinite for none."""
        dues = [self._known[key].due - now for key in keys if key in self._known]
        return max(0.0, min(dues, default=float("inf")))
