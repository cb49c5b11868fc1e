"""What the name server counts, cheap enough for every query. Pure."""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

from netdrivers.contract.names import Latency, UpstreamCounts

BOUNDS_S: Final = (
    0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
MAX_UPSTREAMS: Final = 32  # counted by name; containers may bring any number
OTHERS: Final = "other"


class Timing:
    """How long things took."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def took(self, each_s: float, number: int = 1) -> None:
        """Note ``number`` things of ``each_s`` seconds."""
        self._buckets[bisect_left(BOUNDS_S, each_s)] += number
        self._sum_s += each_s * number

    def latency(self) -> Latency:
        """Bounds, cumulative counts (one more than bounds: the last is all), sum in seconds."""
        return BOUNDS_S, list(accumulate(self._buckets)), self._sum_s


class Counts:
    """Answers by result and source, how long they took, and what got none."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], list[int]] = {}
        self._timing = Timing()
        self.took = self._timing.took
        self.latency = self._timing.latency
        self.dropped = dict.fromkeys(("questions", "sandbox", "streams", "send", "guesses"), 0)
        self.upstreams = Upstreams()

    def tally(self, result: str, source: str) -> list[int]:
        """A one-cell counter that the caller keeps and raises: no look-up per query."""
        return self._tallies.setdefault((result, source), [0])

    def statistics(self) -> Mapping[tuple[str, str], int]:
        """(result, source) -> count."""
        return {key: cell[0] for key, cell in self._tallies.items()}


class Upstreams:
    """What came of asking upstreams, by address; those beyond a number are counted as one."""

    def __init__(self, *, max_names: int = MAX_UPSTREAMS) -> None:
        self._max_names = max_names
        self._outcomes: dict[str, dict[str, int]] = {}
        self._timings: dict[str, Timing] = {}

    def note(self, upstream: str, outcome: str, took_s: float) -> None:
        """One question to one upstream is over. Only the time of an answer says something."""
        if upstream not in self._outcomes and len(self._outcomes) >= self._max_names:
            upstream = OTHERS
        outcomes = self._outcomes.setdefault(upstream, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        timing = self._timings.setdefault(upstream, Timing())
        if outcome == "answered":
            timing.took(took_s)

    def statistics(self) -> Mapping[str, UpstreamCounts]:
        """By upstream."""
        return {
            upstream: UpstreamCounts(
                outcomes=dict(outcomes), latency=self._timings[upstream].latency()
            )
            for upstream, outcomes in self._outcomes.items()
        }
