"""A snapshot with everything in it, for tests of /metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nodeagent.metrics.cluster import ClusterSample, PeerSample
from nodeagent.metrics.exposition import Distribution
from nodeagent.metrics.logs import LogSample, ShipmentSample
from nodeagent.metrics.samples import (
    ContainerSample,
    NetworkSample,
    ReconcileSample,
    Snapshot,
    SubnetSample,
)
from nodeagent.metrics.volumes import VolumeCalls, VolumeSample

INTERFACE = {
    f"{way}_{what}": number
    for way in ("rx", "tx")
    for number, what in enumerate(("bytes", "packets", "errors", "dropped"), 7)
}


@dataclass(frozen=True)
class Reading:
    """As the runtime's reading of a cgroup."""

    cpu_ns: int = 2_500_000_000
    cpu_user_ns: int = 1_500_000_000
    cpu_system_ns: int = 1_000_000_000
    throttled_ns: int = 0
    memory_bytes: int = 10 << 20
    memory_cache_bytes: int = 1 << 20
    memory_limit_bytes: int = 64 << 20
    memory_max_bytes: int = 12 << 20
    oom_events: int = 1
    pids: int = 3
    pids_limit: int = 100
    blkio_read_bytes: int = 4096
    blkio_write_bytes: int = 8192


@dataclass(frozen=True)
class Upstream:
    """As the name server's counts of one upstream."""

    outcomes: Mapping[str, int] = field(default_factory=lambda: {"answered": 4, "timeout": 1})
    latency: Distribution = ((0.001, 0.1), (1, 3, 4), 0.5)


def full_snapshot(containers: int = 2) -> Snapshot:
    """Something of everything."""
    return Snapshot(
        logs=LogSample(
            size_bytes=1 << 20,
            budget_bytes=1 << 30,
            rotations=3,
            dropped={"age": 1},
            shipments=[
                ShipmentSample(
                    id="a" * 64,
                    name="web",
                    driver="syslog",
                    is_failing=False,
                    lines=12,
                    lost=1,
                    failures=2,
                )
            ],
        ),
        version="0.1.0",
        runtime="crun 1.8.1",
        containers_by_state={"running": containers, "exited": 1},
        containers=[
            ContainerSample(
                id=f"{number:064x}"[::-1],
                name=f"web-{number}",
                usage=Reading(),
                interfaces={"eth0": INTERFACE, "lo": INTERFACE},
                networks={"eth0": "demo"},
            )
            for number in range(1, containers + 1)
        ],
        networks=[
            NetworkSample(
                id="ab" * 32,
                name="demo",
                driver="bridge",
                endpoints=2,
                ready=1,
                link=INTERFACE,
                subnets=(
                    SubnetSample(subnet="172.18.0.0/16", used=3, free=65531),
                    SubnetSample(subnet="fd00::/64", used=3, free=2**64 - 4),
                ),
            )
        ],
        volumes=[
            VolumeSample(name="data", driver="local", used_bytes=1 << 20, inodes=5),
            VolumeSample(name="full", driver="image", used_bytes=9, limit_bytes=10, healthy=False),
            VolumeSample(name="huge", driver="local", used_bytes=-1),
        ],
        volume_calls=[
            VolumeCalls(driver="local", operation="mount", result="ok", calls=2, seconds=0.5)
        ],
        images=4,
        image_store_bytes=1 << 30,
        dns_queries={("noerror", "local"): 10, ("nxdomain", "forwarded"): 1},
        dns_latency=((0.001, 0.1), (5, 10, 11), 0.25),
        dns_upstreams={"9.9.9.9": Upstream(), "container": Upstream()},
        dns_dropped={"sandbox": 3, "guesses": 0},
        dns_cache_entries=17,
        reconcile=ReconcileSample(runs=9, failures=1, repairs={"link": 2, "nft": 1}),
        cluster=ClusterSample(
            nodes={"ready": 3},
            clear_refused=2,
            peers=[
                PeerSample(
                    id="ab" * 12,
                    node="web-2",
                    handshake_age_s=3.0,
                    rx_bytes=1,
                    tx_bytes=2,
                    proof_age_s=1.0,
                )
            ],
            remotes={"demo": 2},
        ),
    )
