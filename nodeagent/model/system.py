"""Views of the agent itself and its events."""

from msgspec import Struct, field


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class VersionView(_View, frozen=True, kw_only=True):
    version: str
    api_version: str
    python_version: str
    kernel_version: str
    os: str
    arch: str


class InfoView(_View, frozen=True, kw_only=True):
    """``system.info``."""

    id: str = field(name="ID")
    name: str
    server_version: str
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    networks: int
    volumes: int
    driver: str
    runtime: str
    runtime_version: str
    cgroup_driver: str
    cgroup_version: str
    kernel_version: str
    operating_system: str
    architecture: str
    cpus: int = field(name="NCPU")
    mem_total: int
    root_dir: str = field(name="DockerRootDir")
    run_dir: str
    metrics_address: str
    started_at: str
    warnings: list[str]


class DiskUsageRow(_View, frozen=True, kw_only=True):
    """One line of ``system.df``."""

    type: str
    total_count: int
    active: int
    size: int
    reclaimable: int


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened; ``time_ns`` since the epoch."""

    time_ns: int
    type: str  # container image network volume agent
    action: str  # create start die …
    id: str
    name: str
    attributes: dict[str, str]
