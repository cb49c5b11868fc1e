"""The agent's own counters: RPC calls and what the process itself uses.

They live in one private registry of prometheus-client and are rendered by us: its text writer is
slower and adds a ``_created`` series to every counter, which only a global switch turns off.
"""

from collections.abc import Iterator
from typing import Final, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from nodeagent.metrics.exposition import Family, Type, labels

BOUNDS_S: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
)  # fmt: skip


class OwnMetrics:
    """Counts what the agent does, from its start."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="nodeagent", registry=self._registry)
        self._calls = Counter(
            "nodeagent_rpc_calls_total",
            "RPC calls by method and outcome (ok, or the kind of the error).",
            ("method", "outcome"),
            registry=self._registry,
        )
        self._duration = Histogram(
            "nodeagent_rpc_duration_seconds",
            "Time from an RPC request to its reply.",
            ("method",),
            buckets=BOUNDS_S,
            registry=self._registry,
        )
        self._by_role = Counter(
            "nodeagent_rpc_role_calls_total",
            "RPC calls by the caller's role and outcome.",
            ("role", "outcome"),
            registry=self._registry,
        )
        self._meetings = Counter(
            "nodeagent_rpc_tcp_connections_total",
            "Clients by TCP: met in a role, or not (early, expired, foreign, use, role: their"
            " certificate; protocol, broken, slow, crowded: their handshake).",
            ("outcome",),
            registry=self._registry,
        )

        self._unaudited = Counter(
            "nodeagent_audit_lost_total",
            "Changes that are missing in the audit log: it could not be written for too long.",
            registry=self._registry,
        )

    def observe_call(self, method: str, outcome: str, seconds: float) -> None:
        """Note one RPC call. ``method`` must be a bound one: anything else could be endless."""
        self._calls.labels(method, outcome).inc()
        self._duration.labels(method).observe(seconds)

    def observe_role(self, role: str, outcome: str) -> None:
        """Note in which role a call was made."""
        self._by_role.labels(role, outcome).inc()

    def observe_meeting(self, outcome: str) -> None:
        """Note a client that came by TCP."""
        self._meetings.labels(outcome).inc()

    def note_unaudited(self) -> None:
        """Note a change that the audit log has lost."""
        self._unaudited.inc()

    def note_takeover(self, gap_s: float, sockets: int) -> None:
        """Note that this agent took over from a running one."""
        told = (
            ("gap_seconds", "Time for which new RPC connections waited at the takeover.", gap_s),
            ("sockets", "Descriptors taken over from the former agent.", sockets),
        )
        for name, text, value in told:
            Gauge(f"nodeagent_takeover_{name}", text, registry=self._registry).set(value)

    def collect(self) -> Iterator[Family]:
        """All families; reads some files of /proc/self."""
        for metric in self._registry.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            yield Family(
                name,
                cast("Type", metric.type),
                metric.documentation,
                [
                    (sample.name.removeprefix(name), labels(**sample.labels), sample.value)
                    for sample in metric.samples
                    if not sample.name.endswith("_created")
                ],
            )
