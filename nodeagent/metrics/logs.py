"""What /metrics says of containers' logs. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nodeagent.metrics.exposition import Family, counter, gauge, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSample:
    """All logs of this host: bytes on disk, their limit (0: none), and what was done to hold it."""

    size_bytes: int = 0
    budget_bytes: int = 0
    rotations: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # files, by reason


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
