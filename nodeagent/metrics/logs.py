"""What /metrics says of containers' logs. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nodeagent.metrics.exposition import Family, counter, gauge, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentSample:
    """A container whose log goes to a collector."""

    id: str
    name: str
    driver: str
    is_failing: bool
    lines: int
    lost: int  # files
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSample:
    """All logs of this host: bytes on disk, their limit (0: none), and what was done to hold it."""

    size_bytes: int = 0
    budget_bytes: int = 0
    rotations: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # files, by reason
    shipments: Sequence[ShipmentSample] = ()


def collect_logs(logs: LogSample) -> Iterator[Family]:
    """The families of logs."""
    yield gauge(
        "nodeagent_logs_bytes",
        "Disk space of containers' logs, as last looked at for the budget.",
        [("", logs.size_bytes)],
    )
    yield gauge(
        "nodeagent_logs_budget_bytes",
        "What containers' logs may take together; absent without a limit.",
        [("", logs.budget_bytes)] if logs.budget_bytes else [],
    )
    yield counter("nodeagent_log_rotations_total", "Log files put aside.", [("", logs.rotations)])
    by_reason = {"age": 0, "budget": 0, **logs.dropped}
    yield counter(
        "nodeagent_log_dropped_files_total",
        "Log files deleted: beyond the container's number of files, or for the host's budget.",
        [(labels(reason=reason), count) for reason, count in by_reason.items()],
    )
    yield from _shipments(logs.shipments)


def _shipments(shipments: Sequence[ShipmentSample]) -> Iterator[Family]:
    of = [(labels(id=each.id[:12], name=each.name, driver=each.driver), each) for each in shipments]
    yield gauge(
        "nodeagent_log_collector_up",
        "Whether the container's log collector took what came last.",
        [(label_set, int(not each.is_failing)) for label_set, each in of],
    )
    yield counter(
        "nodeagent_log_shipped_lines_total",
        "Lines that the container's log collector took.",
        [(label_set, each.lines) for label_set, each in of],
    )
    yield counter(
        "nodeagent_log_ship_failures_total",
        "Times that the container's log collector was not reached or broke off.",
        [(label_set, each.failures) for label_set, each in of],
    )
    yield counter(
        "nodeagent_log_ship_lost_files_total",
        "Log files that were deleted before the container's log collector took them.",
        [(label_set, each.lost) for label_set, each in of],
    )
