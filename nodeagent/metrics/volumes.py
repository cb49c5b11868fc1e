"""What /metrics says of volumes and their drivers. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nodeagent.metrics.exposition import Family, counter, gauge, labels

BREAKER: Final = ("closed", "half-open", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSample:
    """One volume; -1 = not known."""

    name: str
    driver: str
    used_bytes: int
    inodes: int = -1
    limit_bytes: int = -1
    healthy: bool = True
    mounts: int = 0  # leases: who has it mounted, or has still to give it back
    breaker: str = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCalls:
    """Calls of one driver since the start, of one kind and result."""

    driver: str
    operation: str
    result: str
    calls: int
    seconds: float


def collect_volumes(
    volumes: Sequence[VolumeSample], calls: Sequence[VolumeCalls]
) -> Iterator[Family]:
    """The families of volumes."""
    by_driver: dict[str, int] = {}
    for each in volumes:
        by_driver[each.driver] = by_driver.get(each.driver, 0) + 1
    yield gauge(
        "nodeagent_volumes",
        "Volumes by driver.",
        [(labels(driver=driver), count) for driver, count in by_driver.items()] or [("", 0)],
    )
    keyed = [(labels(name=each.name, driver=each.driver), each) for each in volumes]
    yield gauge(
        "nodeagent_volume_used_bytes",
        "Disk space of the volume; absent while not known.",
        [(key, each.used_bytes) for key, each in keyed if each.used_bytes >= 0],
    )
    yield gauge(
        "nodeagent_volume_inodes",
        "Files and directories of the volume; absent while not known.",
        [(key, each.inodes) for key, each in keyed if each.inodes >= 0],
    )
    yield gauge(
        "nodeagent_volume_limit_bytes",
        "Size limit of the volume; absent without one.",
        [(key, each.limit_bytes) for key, each in keyed if each.limit_bytes >= 0],
    )
    yield gauge(
        "nodeagent_volume_healthy",
        "Whether the volume can be used: 1 or 0.",
        [(key, int(each.healthy)) for key, each in keyed],
    )
    yield gauge(
        "nodeagent_volume_mounts",
        "Who has the volume mounted, or has still to give it back.",
        [(key, each.mounts) for key, each in keyed],
    )
    yield gauge(
        "nodeagent_volume_breaker",
        "Whether the volume's driver is asked: 0 yes, 1 one call to try, 2 not now.",
        [(key, BREAKER.index(each.breaker)) for key, each in keyed],
    )
    yield from _calls(calls)


def _calls(calls: Sequence[VolumeCalls]) -> Iterator[Family]:
    keyed = [
        (labels(driver=each.driver, operation=each.operation, result=each.result), each)
        for each in calls
    ]
    yield counter(
        "nodeagent_volume_driver_calls_total",
        "Calls of volume drivers by operation and result.",
        [(key, each.calls) for key, each in keyed],
    )
    yield counter(
        "nodeagent_volume_driver_seconds_total",
        "Time spent in these calls.",
        [(key, each.seconds) for key, each in keyed],
    )
