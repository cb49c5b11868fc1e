"""Health checks: what is asked for, what is stored, and what is shown."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Test = Annotated[list[Annotated[str, Meta(max_length=131072)]], Meta(max_length=4096)]


class HealthSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A health check; empty values mean the image's or the default."""

    test: Test = []  # CMD and words, CMD-SHELL and a line, or NONE: no check
    interval_s: Seconds = 0.0
    timeout_s: Seconds = 0.0
    start_period_s: Seconds = 0.0
    start_interval_s: Seconds = 0.0
    retries: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class HealthRequest(HealthSettings, frozen=True, kw_only=True):
    """``--health-*``, and what to do once it is unhealthy."""

    on_unhealthy: Literal["none", "restart", "stop", "kill"] = "none"


class HealthRecord(Struct, frozen=True, kw_only=True):
    """A health check as resolved at creation."""

    test: list[str]
    args: list[str]
    interval_s: float
    timeout_s: float
    start_period_s: float
    start_interval_s: float
    retries: int
    on_unhealthy: str = "none"


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class HealthLogView(_View, frozen=True, kw_only=True):
    start: str
    end: str
    exit_code: int
    output: str


class HealthView(_View, frozen=True, kw_only=True):
    status: str
    failing_streak: int
    log: list[HealthLogView]


class HealthcheckView(_View, frozen=True, kw_only=True):
    """Times in nanoseconds, as Docker shows them."""

    test: list[str]
    interval: int
    timeout: int
    start_period: int
    start_interval: int
    retries: int
