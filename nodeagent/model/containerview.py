"""What is shown of a container, in Docker's field names: a script for ``docker inspect`` works."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from nodeagent.model.health import HealthcheckView, HealthView


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling: ``exit_code`` is shown as ``ExitCode``."""


class StateView(_View, frozen=True, kw_only=True):
    status: Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = field(name="OOMKilled")
    dead: bool
    pid: int
    exit_code: int
    error: str
    started_at: str
    finished_at: str
    health: HealthView | None  # null without a health check


class MountView(_View, frozen=True, kw_only=True):
    type: str
    name: str
    source: str
    destination: str
    driver: str
    mode: str
    rw: bool = field(name="RW")
    propagation: str


class PortView(_View, frozen=True, kw_only=True):
    host_ip: str
    host_port: str


class EndpointView(_View, frozen=True, kw_only=True):
    network_id: str = field(name="NetworkID")
    endpoint_id: str = field(name="EndpointID")
    gateway: str
    ip_address: str = field(name="IPAddress")
    ip_prefix_len: int = field(name="IPPrefixLen")
    ipv6_gateway: str = field(name="IPv6Gateway")
    global_ipv6_address: str = field(name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(name="GlobalIPv6PrefixLen")
    mac_address: str
    gw_priority: int
    aliases: list[str]
    dns_names: list[str] = field(name="DNSNames")


class NetworkSettingsView(_View, frozen=True, kw_only=True):
    sandbox_id: str = field(name="SandboxID")
    sandbox_key: str
    ports: dict[str, list[PortView] | None]
    networks: dict[str, EndpointView]
    ip_address: str = field(name="IPAddress")
    gateway: str
    mac_address: str


class ConfigView(_View, frozen=True, kw_only=True):
    hostname: str
    domainname: str
    user: str
    tty: bool
    open_stdin: bool
    env: list[str]
    cmd: list[str]
    entrypoint: list[str] | None
    image: str
    working_dir: str
    labels: dict[str, str]
    exposed_ports: dict[str, dict[str, str]]
    stop_signal: str
    stop_timeout: int
    healthcheck: HealthcheckView | None


class RestartPolicyView(_View, frozen=True, kw_only=True):
    name: str
    maximum_retry_count: int


class LogConfigView(_View, frozen=True, kw_only=True):
    type: str
    config: dict[str, str]


class ThrottleView(_View, frozen=True, kw_only=True):
    path: str
    rate: int


class WeightView(_View, frozen=True, kw_only=True):
    path: str
    weight: int


class HostConfigView(_View, frozen=True, kw_only=True):
    log_config: LogConfigView
    network_mode: str
    pid_mode: str
    ipc_mode: str
    uts_mode: str = field(name="UTSMode")
    cgroupns_mode: str
    userns_mode: str
    port_bindings: dict[str, list[PortView]]
    restart_policy: RestartPolicyView
    on_unhealthy: str
    auto_remove: bool
    privileged: bool
    readonly_rootfs: bool
    memory: int
    memory_swap: int
    nano_cpus: int
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    cpu_period: int
    cpu_quota: int
    memory_reservation: int
    memory_swappiness: int | None
    oom_kill_disable: bool
    blkio_weight: int
    blkio_device_read_bps: list[ThrottleView]
    blkio_device_write_bps: list[ThrottleView]
    blkio_device_read_iops: list[ThrottleView] = field(name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleView] = field(name="BlkioDeviceWriteIOps")
    blkio_weight_device: list[WeightView]
    device_cgroup_rules: list[str]
    security_opt: list[str]
    sysctls: dict[str, str]
    pids_limit: int
    cap_add: list[str]
    cap_drop: list[str]
    dns: list[str]
    dns_search: list[str]
    dns_options: list[str]
    extra_hosts: list[str]
    shm_size: int
    storage_opt: dict[str, str]
    init: bool
    binds: list[str]


class ContainerView(_View, frozen=True, kw_only=True):
    """One element of ``container.inspect``."""

    id: str
    created: str
    path: str
    args: list[str]
    state: StateView
    image: str  # image id
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str  # "/web"
    restart_count: int
    driver: str  # "overlay2", as Docker calls overlayfs
    platform: str
    mounts: list[MountView]
    config: ConfigView
    host_config: HostConfigView
    network_settings: NetworkSettingsView
    size_rw: int | UnsetType = UNSET  # bytes of the writable layer; only if asked for
    size_root_fs: int | UnsetType = UNSET  # bytes with the image's layers


class ContainerRow(_View, frozen=True, kw_only=True):
    """One line of ``container.ls``; strings as ``docker ps --format json`` prints them."""

    id: str = field(name="ID")
    names: str
    image: str
    command: str
    created_at: str
    state: str
    status: str  # "Up 3 minutes", "Exited (0) 2 hours ago"
    ports: str  # "127.0.0.1:8080->80/tcp"
    labels: str
    mounts: str
    networks: str
    running_for: str
    size_rw: int | UnsetType = UNSET  # bytes of the writable layer; only if asked for
    size_root_fs: int | UnsetType = UNSET  # bytes with the image's layers


class StatsView(_View, frozen=True, kw_only=True):
    """One reading of ``container.stats``; byte counts are integers, -1 = not known."""

    id: str = field(name="ID")
    name: str
    read: str  # RFC 3339
    cpu_percent: float
    cpu_ns: int
    memory_bytes: int
    memory_limit_bytes: int
    memory_percent: float
    pids: int
    network_rx_bytes: int
    network_tx_bytes: int
    block_read_bytes: int
    block_write_bytes: int
