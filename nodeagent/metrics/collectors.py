"""What /metrics says of the subsystems: a snapshot in, families out. Pure.

The daemon fills a ``Snapshot`` at each scrape, from memory and a few small cgroup files:

    Snapshot(
        version=..., runtime=runtime.runtime_name(),
        containers_by_state={"running": 3, "exited": 1},   # states without any may be left out
        containers=[ContainerSample(id=record.id, name=record.name,
                                    usage=runtime.usage(record.id),      # runtime.contract.Usage
                                    interfaces=engine.counters(sandbox_id))],   # running ones
        networks=[NetworkSample(id=..., name=..., driver=..., endpoints=2, subnets=(
            SubnetSample(subnet="172.18.0.0/16", used=3, free=65531),))],
        volumes=[VolumeSample(name=..., driver="local", used_bytes=usage.used_bytes, ...)],
        images=len(images.ls()), image_store_bytes=images.used_bytes(),
        dns_queries=names.statistics(), dns_latency=names.latency(),
        dns_upstreams=names.upstreams(), dns_dropped=names.dropped(),
        dns_cache_entries=names.cache_entries(),
        reconcile=ReconcileSample(runs=..., failures=..., repairs={"link": 2}),
    )

A negative number means "not known", as in the contracts, and leaves the sample out. Containers
and networks are labelled ``id`` (12 hex digits) and ``name``, and nothing else of theirs, so the
number of series grows with the number of objects only.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from nodeagent.metrics.cluster import collect_cluster
from nodeagent.metrics.exposition import (
    Family,
    Value,
    counter,
    gauge,
    histogram,
    histograms,
    labels,
)
from nodeagent.metrics.logs import collect_logs
from nodeagent.metrics.ports import collect_ports
from nodeagent.metrics.samples import (
    ContainerSample,
    NetworkSample,
    Snapshot,
)
from nodeagent.metrics.volumes import collect_volumes

STATES: Final = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
HEALTH_STATES: Final = ("starting", "healthy", "unhealthy")
NS: Final = 1e9
SHORT_ID: Final = 12


def collect(snapshot: Snapshot) -> Iterator[Family]:
    """All families of the snapshot."""
    yield from _agent(snapshot)
    yield from _containers(snapshot.containers)
    yield _ends(snapshot)
    yield from _interfaces(snapshot.containers)
    yield from _health(snapshot)
    yield from _networks(snapshot.networks)
    yield from collect_ports(snapshot.ports)
    yield from collect_cluster(snapshot.cluster)
    yield from collect_logs(snapshot.logs)
    yield from collect_volumes(snapshot.volumes, snapshot.volume_calls)
    yield from _names(snapshot)


def _agent(snapshot: Snapshot) -> Iterator[Family]:
    yield gauge(
        "nodeagent_build_info",
        "Version of the agent and the OCI runtime it uses; always 1.",
        [(labels(version=snapshot.version, runtime=snapshot.runtime), 1)],
    )
    by_state = {**dict.fromkeys(STATES, 0), **snapshot.containers_by_state}
    yield gauge(
        "nodeagent_containers",
        "Containers by state.",
        [(labels(state=state), count) for state, count in by_state.items()],
    )
    yield gauge(
        "nodeagent_containers_unadopted",
        "Containers that run, but that the agent could not adopt yet.",
        [("", snapshot.unadopted)],
    )
    yield gauge("nodeagent_images", "Images in the store.", [("", snapshot.images)])
    yield gauge(
        "nodeagent_image_store_bytes",
        "Disk space of image blobs and unpacked layers.",
        [("", snapshot.image_store_bytes)],
    )
    runs = snapshot.reconcile
    yield counter("nodeagent_reconcile_runs_total", "Passes of the repair loop.", [("", runs.runs)])
    yield counter(
        "nodeagent_reconcile_failures_total",
        "Passes of the repair loop that ended in an error.",
        [("", runs.failures)],
    )
    yield counter(
        "nodeagent_drift_repairs_total",
        "Kernel objects that were not as wanted and were put right, by kind.",
        [(labels(kind=kind), count) for kind, count in runs.repairs.items()] or [("", 0)],
    )
    yield gauge(
        "nodeagent_leaks",
        "What is ours and nobody's and stays, by kind; see network audit.",
        [(labels(kind=kind), count) for kind, count in snapshot.leaks.items()] or [("", 0)],
    )


# field of a reading, metric without prefix, divisor, help; a name that ends in _total is a counter
_USAGE: Final[tuple[tuple[str, str, float, str], ...]] = (
    ("cpu_ns", "cpu_seconds_total", NS, "CPU time used."),
    ("cpu_user_ns", "cpu_user_seconds_total", NS, "CPU time used in user mode."),
    ("cpu_system_ns", "cpu_system_seconds_total", NS, "CPU time used in kernel mode."),
    ("throttled_ns", "cpu_throttled_seconds_total", NS, "Time held back by the CPU limit."),
    ("memory_bytes", "memory_usage_bytes", 1, "Memory charged to the container, cache included."),
    ("memory_cache_bytes", "memory_cache_bytes", 1, "Page cache charged to the container."),
    ("memory_limit_bytes", "memory_limit_bytes", 1, "Memory limit; absent without one."),
    ("memory_max_bytes", "memory_max_usage_bytes", 1, "Highest memory use so far."),
    ("oom_events", "oom_events_total", 1, "Times the memory limit made the kernel kill."),
    ("pids", "pids", 1, "Processes and threads."),
    ("pids_limit", "pids_limit", 1, "Limit of processes and threads; absent without one."),
    ("blkio_read_bytes", "blkio_read_bytes_total", 1, "Bytes read from block devices."),
    ("blkio_write_bytes", "blkio_written_bytes_total", 1, "Bytes written to block devices."),
)
_STORAGE: Final = (
    ("storage_used_bytes", "Used of a writable layer that has a size."),
    ("storage_size_bytes", "Size of a writable layer; absent without one."),
)
_LIMITS: Final = {"memory_limit_bytes", "pids_limit"}


def _containers(containers: Sequence[ContainerSample]) -> Iterator[Family]:
    readings = [
        (_object(each.id, each.name), each.usage) for each in containers if each.usage is not None
    ]
    for attribute, suffix, divisor, help_ in _USAGE:
        lowest = 1 if attribute in _LIMITS else 0  # 0 and -1 both mean: no limit
        samples = [
            (label_set, value if divisor == 1 else value / divisor)
            for label_set, usage in readings
            if (value := getattr(usage, attribute)) >= lowest
        ]
        yield _by_name(f"nodeagent_container_{suffix}", help_, samples)
    for attribute, help_ in _STORAGE:
        rows = [(_object(each.id, each.name), getattr(each, attribute)) for each in containers]
        yield gauge(f"nodeagent_container_{attribute}", help_, [row for row in rows if row[1] >= 0])


def _ends(snapshot: Snapshot) -> Family:
    """A container that was killed for memory is gone before the next scrape: this stays."""
    return counter(
        "nodeagent_container_ends_total",
        "Runs of containers that ended, by outcome; oom: the kernel killed in it for memory.",
        [(labels(outcome=outcome), count) for outcome, count in snapshot.ends.items()],
    )


def _health(snapshot: Snapshot) -> Iterator[Family]:
    yield gauge(
        "nodeagent_container_health",
        "1 for the health status that a container with a health check has, 0 for the others.",
        [
            (labels(id=each.id[:SHORT_ID], name=each.name, status=one), int(one == each.health))
            for each in snapshot.containers
            if each.health
            for one in HEALTH_STATES
        ],
    )
    yield counter(
        "nodeagent_health_probes_total",
        "Probes of health checks that ended, by outcome.",
        [(labels(outcome=outcome), count) for outcome, count in snapshot.probes.items()],
    )


_INTERFACE: Final[tuple[tuple[str, str, str], ...]] = (
    ("rx_bytes", "receive_bytes_total", "Bytes received."),
    ("rx_packets", "receive_packets_total", "Packets received."),
    ("rx_errors", "receive_errors_total", "Errors while receiving."),
    ("rx_dropped", "receive_dropped_total", "Packets dropped while receiving."),
    ("tx_bytes", "transmit_bytes_total", "Bytes sent."),
    ("tx_packets", "transmit_packets_total", "Packets sent."),
    ("tx_errors", "transmit_errors_total", "Errors while sending."),
    ("tx_dropped", "transmit_dropped_total", "Packets dropped while sending."),
)


def _interfaces(containers: Sequence[ContainerSample]) -> Iterator[Family]:
    counted = [
        (
            labels(
                id=each.id[:SHORT_ID],
                name=each.name,
                interface=interface,
                network=each.networks.get(interface, ""),
            ),
            counts,
        )
        for each in containers
        for interface, counts in each.interfaces.items()
    ]
    for key, suffix, help_ in _INTERFACE:
        samples = [(label_set, counts[key]) for label_set, counts in counted if key in counts]
        yield counter(f"nodeagent_container_network_{suffix}", help_, samples)


def _networks(networks: Sequence[NetworkSample]) -> Iterator[Family]:
    yield gauge(
        "nodeagent_network_endpoints",
        "Endpoints on the network on this host.",
        [
            (labels(id=each.id[:SHORT_ID], name=each.name, driver=each.driver), each.endpoints)
            for each in networks
        ],
    )
    yield gauge(
        "nodeagent_network_ready_endpoints",
        "Endpoints on the network that names lead to: running, and healthy if they have a check.",
        [(_object(each.id, each.name), each.ready) for each in networks],
    )
    yield from _links(networks)
    yield gauge(
        "nodeagent_network_subnet_conflicts",
        "Routes of the host, not ours, that overlap a subnet of the network.",
        [(_object(each.id, each.name), each.conflicts) for each in networks],
    )
    subnets = [
        (labels(id=each.id[:SHORT_ID], name=each.name, subnet=subnet.subnet), subnet)
        for each in networks
        for subnet in each.subnets
    ]
    yield gauge(
        "nodeagent_network_addresses_used",
        "Addresses of the subnet that are taken.",
        [(label_set, subnet.used) for label_set, subnet in subnets],
    )
    yield gauge(
        "nodeagent_network_addresses_free",
        "Addresses of the subnet that can still be given out.",
        [(label_set, float(subnet.free)) for label_set, subnet in subnets],
    )


def _links(networks: Sequence[NetworkSample]) -> Iterator[Family]:
    """A bridge counts what passes between the network and the host or the world."""
    for key, suffix, help_ in _INTERFACE:
        samples = [
            (_object(each.id, each.name), each.link[key]) for each in networks if key in each.link
        ]
        yield counter(
            f"nodeagent_network_{suffix}", f"By the host on the network. {help_}", samples
        )


def _names(snapshot: Snapshot) -> Iterator[Family]:
    queries = snapshot.dns_queries.items()
    yield counter(
        "nodeagent_dns_queries_total",
        "DNS queries of containers by result and by who answered.",
        [(labels(result=result, source=source), count) for (result, source), count in queries],
    )
    yield histogram(
        "nodeagent_dns_response_duration_seconds",
        "Time from a DNS query to its answer, forwarded ones included.",
        *snapshot.dns_latency,
    )
    upstreams = snapshot.dns_upstreams.items()
    yield counter(
        "nodeagent_dns_upstream_queries_total",
        "Questions to upstreams by what came of them; servers that containers bring are one.",
        [
            (labels(upstream=upstream, outcome=outcome), count)
            for upstream, each in upstreams
            for outcome, count in each.outcomes.items()
        ],
    )
    yield histograms(
        "nodeagent_dns_upstream_duration_seconds",
        "Time from a question to an upstream to its answer.",
        [({"upstream": upstream}, each.latency) for upstream, each in upstreams],
    )
    yield counter(
        "nodeagent_dns_dropped_total",
        "DNS queries turned away and datagrams lost or not believed, by reason.",
        [(labels(reason=reason), count) for reason, count in snapshot.dns_dropped.items()],
    )
    yield gauge(
        "nodeagent_dns_cache_entries",
        "Answers of upstreams that are kept.",
        [("", snapshot.dns_cache_entries)],
    )


def _object(id_: str, name: str) -> str:
    return labels(id=id_[:SHORT_ID], name=name)


def _by_name(name: str, help_: str, samples: Iterable[tuple[str, Value]]) -> Family:
    return counter(name, help_, samples) if name.endswith("_total") else gauge(name, help_, samples)
