"""Answers ready to be sent but for their id, by all of the query behind its id. Pure.

Bounded: at either bound all go, since each is made again in about 20 us.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

MAX_KEPT: Final = 2048  # answers; about 0.6 KB each with what Python needs around them
MAX_KEPT_BYTES: Final = 1 << 20  # an answer over a stream may have 64 KB, and 16 turns
MAX_KEY_BYTES: Final = 300  # a longer query is odd and not worth its memory


@dataclass(slots=True)
class Kept:
    """One answer without its id: its turns, the counter it raises, until when it holds."""

    turns: Iterator[bytes]
    tally: list[int]
    until: float
    size_bytes: int


class Prepared:
    """What one sandbox has been told lately."""

    def __init__(self, *, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self.answers: dict[bytes, Kept] = {}
        self._max_bytes = max_bytes
        self._bytes = 0

    def keep(
        self, packet: bytes, turns: Sequence[bytes], tally: list[int], *, until: float
    ) -> None:
        """Keep an answer for the same question: its turns from the next one on."""
        if len(packet) > MAX_KEY_BYTES:
            return
        size = len(packet) + sum(map(len, turns))
        if old := self.answers.pop(packet[2:], None):
            self._bytes -= old.size_bytes
        if len(self.answers) >= MAX_KEPT or self._bytes + size > self._max_bytes:
            self.answers.clear()
            self._bytes = 0
        if size <= self._max_bytes:
            turning = cycle([turn[2:] for turn in turns])
            self.answers[packet[2:]] = Kept(turning, tally, until, size)
            self._bytes += size
