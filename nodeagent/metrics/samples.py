"""What is there at the moment of a scrape, as plain data; ``collectors`` makes families of it.

A negative number means "not known", as in the contracts, and leaves the sample out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nodeagent.metrics.cluster import ClusterSample
from nodeagent.metrics.exposition import Distribution
from nodeagent.metrics.logs import LogSample
from nodeagent.metrics.ports import PortSample
from nodeagent.metrics.volumes import VolumeCalls, VolumeSample


class UpstreamReading(Protocol):
    """What came of asking one upstream, as ``netdrivers.contract.names.UpstreamCounts`` has it."""

    @property
    def outcomes(self) -> Mapping[str, int]: ...
    @property
    def latency(self) -> Distribution: ...


class UsageReading(Protocol):
    """One reading of a cgroup, as ``runtime.contract.Usage`` has it."""

    @property
    def cpu_ns(self) -> int: ...
    @property
    def cpu_user_ns(self) -> int: ...
    @property
    def cpu_system_ns(self) -> int: ...
    @property
    def throttled_ns(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def memory_cache_bytes(self) -> int: ...
    @property
    def memory_limit_bytes(self) -> int: ...
    @property
    def memory_max_bytes(self) -> int: ...
    @property
    def oom_events(self) -> int: ...
    @property
    def pids(self) -> int: ...
    @property
    def pids_limit(self) -> int: ...
    @property
    def blkio_read_bytes(self) -> int: ...
    @property
    def blkio_write_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSample:
    """One running container; ``usage`` None when its cgroup went away while we looked."""

    id: str
    name: str
    usage: UsageReading | None
    storage_used_bytes: int = -1  # of a writable layer of a size
    storage_size_bytes: int = -1
    interfaces: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    health: str = ""  # without a health check
    networks: Mapping[str, str] = field(default_factory=dict)  # name of the network by interface


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSample:
    """Addresses of one subnet; ``free`` is what could still be given out."""

    subnet: str
    used: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSample:
    """One network."""

    id: str
    name: str
    driver: str
    endpoints: int
    ready: int = 0  # endpoints that names lead to
    subnets: tuple[SubnetSample, ...] = ()
    link: Mapping[str, int] = field(default_factory=dict)  # counters of its link on the host
    conflicts: int = 0  # routes of the host's that overlap its subnets


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileSample:
    """Passes of the repair loop, those that failed, and kernel objects repaired by kind."""

    runs: int = 0
    failures: int = 0
    repairs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one moment; see the module's head for where it comes from."""

    version: str
    runtime: str
    containers_by_state: Mapping[str, int] = field(default_factory=dict)
    unadopted: int = 0
    containers: Sequence[ContainerSample] = ()
    networks: Sequence[NetworkSample] = ()
    volumes: Sequence[VolumeSample] = ()
    volume_calls: Sequence[VolumeCalls] = ()
    images: int = 0
    image_store_bytes: int = 0
    dns_queries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    dns_latency: Distribution = ((), (0,), 0.0)
    dns_upstreams: Mapping[str, UpstreamReading] = field(default_factory=dict)
    dns_dropped: Mapping[str, int] = field(default_factory=dict)
    dns_cache_entries: int = 0
    reconcile: ReconcileSample = ReconcileSample()
    ports: PortSample = field(default_factory=PortSample)
    logs: LogSample = field(default_factory=LogSample)
    probes: Mapping[str, int] = field(default_factory=dict)  # of health checks, by outcome
    ends: Mapping[str, int] = field(default_factory=dict)  # of containers' runs, by outcome
    leaks: Mapping[str, int] = field(default_factory=dict)  # by kind
    cluster: ClusterSample | None = None
