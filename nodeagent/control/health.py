"""Whether a container does its work: from what its probes say to a status. Pure.

Docker's rules, with one addition: a container whose first interval has not passed yet is probed at
the pace of the start interval already, so that it is found healthy as soon as it is. Failures count
when Docker would count them: after the start period, and never before the first interval.

Source: Docker's health monitor; behaviour of ``HEALTHCHECK`` in the Dockerfile reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from nodeagent.control.times import build_duration
from nodeagent.errors import Invalid
from nodeagent.model.container import ContainerRecord
from nodeagent.model.health import HealthRecord, HealthSettings
from runtime.imageconfig import HealthCheck, ImageConfig

Status = Literal["starting", "healthy", "unhealthy"]
Fact = Literal["passed", "failed", "failed too often"]

INTERVAL_S: Final = 30.0
TIMEOUT_S: Final = 30.0
START_INTERVAL_S: Final = 5.0
RETRIES: Final = 3
LEAST_S: Final = 0.001  # Docker takes no shorter time
LOG_ENTRIES: Final = 5
OUTPUT_MAX_BYTES: Final = 4096
TIMED_OUT: Final = -1  # exit code of a probe that was killed, or could not be run
SHELL: Final = ("/bin/sh", "-c")

# where a status leads; what is not here stays as it is
MOVES: Final[Mapping[tuple[Status, Fact], Status]] = {
    ("starting", "passed"): "healthy",
    ("starting", "failed too often"): "unhealthy",
    ("healthy", "failed too often"): "unhealthy",
    ("unhealthy", "passed"): "healthy",
}


class Result(NamedTuple):
    """One probe; times are seconds since the epoch."""

    start: float
    end: float
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of one run of a container."""

    status: Status = "starting"
    failing_streak: int = 0
    log: tuple[Result, ...] = ()


def advance(check: HealthRecord, health: Health, result: Result, *, age_s: float) -> Health:
    """What is known after one more probe.

    Args:
        age_s: of the container when the probe began.
    """
    passed = result.exit_code == 0
    counts = health.status != "starting" or age_s >= grace_s(check)
    streak = 0 if passed else health.failing_streak + counts
    fact: Fact = "passed" if passed else "failed"
    if streak >= check.retries:
        fact = "failed too often"
    return Health(
        status=MOVES.get((health.status, fact), health.status),
        failing_streak=streak,
        log=(*health.log, result)[-LOG_ENTRIES:],
    )


def grace_s(check: HealthRecord) -> float:
    """Until this age a failure says nothing, unless a probe passed before."""
    return max(check.start_period_s, check.interval_s)


def pace_s(check: HealthRecord, health: Health, *, age_s: float) -> float:
    """From the end of one probe (or the start of the container) to the beginning of the next."""
    if health.status != "starting" or age_s >= grace_s(check):
        return check.interval_s
    if age_s < check.start_period_s:
        return check.start_interval_s
    return min(check.start_interval_s, check.interval_s, grace_s(check) - age_s)


def build_output(output: bytes, *, timeout_s: float | None) -> str:
    """What a probe said, as its log shows it; ``timeout_s``: it was killed after that."""
    text = output[:OUTPUT_MAX_BYTES].decode(errors="replace")
    if timeout_s is None:
        return text
    words = f"Health check exceeded timeout ({build_duration(timeout_s)})"
    return f"{words}: {text}" if text else words


def is_ready(record: ContainerRecord) -> bool:
    """Whether its names are answered, by what is durable: without a check, whenever it runs."""
    return record.health is None or record.was_healthy


def status_words(status: Status) -> str:
    """What ``container ls`` adds to "Up 3 minutes"."""
    return "(health: starting)" if status == "starting" else f"({status})"


def image_check(asked: HealthSettings) -> HealthCheck | None:
    """What an imported image is to say (Invalid); None if nothing was asked for."""
    resolve_check(asked, ImageConfig())
    if not asked.test:
        return None
    return HealthCheck(
        test=tuple(asked.test),
        interval_s=asked.interval_s,
        timeout_s=asked.timeout_s,
        start_period_s=asked.start_period_s,
        start_interval_s=asked.start_interval_s,
        retries=asked.retries,
    )


# --- at creation -------------------------------------------------------------------------------


def resolve_check(
    asked: HealthSettings, image: ImageConfig, on_unhealthy: str = "none"
) -> HealthRecord | None:
    """The request over the image's over the defaults; None without a check.

    Raises:
        Invalid: a test or a time that cannot be, or settings for a check that is not there.
    """
    settings = {
        name: getattr(asked, name)
        for name in ("interval_s", "timeout_s", "start_period_s", "start_interval_s", "retries")
        if getattr(asked, name)
    }
    of_image = image.healthcheck or HealthCheck(test=())
    test = asked.test or list(of_image.test)
    if not test or test[0] == "NONE":
        if settings or on_unhealthy != "none" or test[1:]:
            why = "it is switched off" if test else "neither the image nor the request has one"
            raise Invalid(f"settings of a health check, but {why}; give health.test",
                          field="health")  # fmt: skip
        return None
    times = {
        name: _time(name, settings.get(name) or getattr(of_image, name) or default)
        for name, default in (
            ("interval_s", INTERVAL_S), ("timeout_s", TIMEOUT_S), ("start_period_s", 0.0),
            ("start_interval_s", START_INTERVAL_S),
        )
    }  # fmt: skip
    retries = asked.retries or of_image.retries or RETRIES
    if retries < 1:
        raise Invalid("a number from 1 on is needed", field="health.retries", value=retries)
    return HealthRecord(
        test=test,
        args=_args(test, image.shell or SHELL),
        retries=retries,
        on_unhealthy=on_unhealthy,
        **times,
    )


def _time(name: str, value_s: float) -> float:
    if value_s < LEAST_S and (value_s or name != "start_period_s"):
        raise Invalid("a time of a health check is 1ms or more", field=f"health.{name}",
                      value=value_s)  # fmt: skip
    return value_s


def _args(test: list[str], shell: tuple[str, ...]) -> list[str]:
    match test:
        case ["CMD", _, *_]:
            return test[1:]
        case ["CMD-SHELL", line]:
            return [*shell, line]
    raise Invalid(
        "a health check is NONE, CMD with words, or CMD-SHELL with one line",
        field="health.test",
        value=test,
    )
