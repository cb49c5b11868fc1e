"""What the name server counts, cheap enough for every query. Pure."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

BOUNDS_S: Final = (
    0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip


class Counts:
    """Answers by result and source, and how long they took."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], list[int]] = {}
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def tally(self, result: str, source: str) -> list[int]:
        """A one-cell counter that the caller keeps and raises: no look-up per query."""
        return self._tallies.setdefault((result, source), [0])

    def took(self, each_s: float, number: int) -> None:
        """Note ``number`` answers of ``each_s`` seconds."""
        self._buckets[bisect_left(BOUNDS_S, each_s)] += number
        self._sum_s += each_s * number

    def statistics(self) -> Mapping[tuple[str, str], int]:
        """(result, source) -> count."""
        return {key: cell[0] for key, cell in self._tallies.items()}

    def latency(self) -> tuple[Sequence[float], Sequence[int], float]:
        """Bounds, cumulative counts (one more than bounds: the last is all), sum in seconds."""
        return BOUNDS_S, list(accumulate(self._buckets)), self._sum_s
