"""When to stop asking what does not answer, and when to ask again. Pure: times are arguments."""

from dataclasses import dataclass
from typing import Final, Literal

FAILURES: Final = 3  # in a row; one that used up its whole time counts for all
REST_S: Final = 1.0  # before the first trial, doubled at each that fails
REST_MAX_S: Final = 60.0


@dataclass(slots=True)
class Breaker:
    """Closed: calls pass. Open: none. Half-open: one passes, and its result decides."""

    failures: int = 0
    reason: str = ""
    trial_s: float = 0.0  # while open: when the next call may pass
    _rest_s: float = REST_S
    _trying: bool = False

    def state(self, now_s: float) -> Literal["closed", "open", "half-open"]:
        """What a call would meet."""
        if self.failures < FAILURES:
            return "closed"
        return "half-open" if now_s >= self.trial_s and not self._trying else "open"

    def enter(self, now_s: float) -> bool:
        """Whether a call may pass; its end must be told by ``succeed``, ``fail`` or ``leave``."""
        state = self.state(now_s)
        self._trying = self._trying or state == "half-open"
        return state != "open"

    def succeed(self) -> None:
        """A call was answered."""
        self.failures, self.reason, self._rest_s, self._trying = 0, "", REST_S, False

    def fail(self, now_s: float, reason: str, *, timed_out: bool) -> None:
        """A call was not answered."""
        was_open = self.failures >= FAILURES
        self.failures = FAILURES if timed_out else self.failures + 1
        self.reason, self._trying = reason, False
        if was_open:
            self._rest_s = min(2 * self._rest_s, REST_MAX_S)
        self.trial_s = now_s + self._rest_s

    def leave(self) -> None:
        """A call was given up by its caller: nothing is known."""
        self._trying = False
