"""A container: what is asked for, what is stored, and what is shown.

Requests (``ContainerCreate`` …) use snake_case; views use Docker's field names, so that a script
written for ``docker inspect`` works. All are strict: an unknown field is an error.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from nodeagent.model.health import HealthcheckView, HealthRecord, HealthRequest, HealthView

Name = Annotated[str, Meta(max_length=255)]
Text = Annotated[str, Meta(max_length=4096)]
Words = Annotated[list[Annotated[str, Meta(max_length=131072)]], Meta(max_length=4096)]
Labels = Annotated[dict[Name, Annotated[str, Meta(max_length=65536)]], Meta(max_length=1024)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class PortBinding(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``-p``: host_port 0 = pick one; host_ip "" = the configured default address.

    ``host_port_end``: not 0 = the first free one from host_port to it.
    """

    container_port: Annotated[int, Meta(ge=1, le=65535)]
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    host_ip: Name = ""
    host_port: Port = 0
    host_port_end: Port = 0


class MountRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``-v``/``--mount``: for ``volume`` an empty source asks for an anonymous one."""

    type: Literal["bind", "volume", "tmpfs"]
    target: Text
    source: Text = ""
    read_only: bool = False
    no_copy: bool = False
    propagation: Literal["rprivate", "private", "rshared", "shared", "rslave", "slave"] = "rprivate"
    tmpfs_size_bytes: Annotated[int, Meta(ge=0)] = 0
    tmpfs_mode: Annotated[int, Meta(ge=0, le=0o7777)] = 0o1777
    volume_driver: Name = "local"
    volume_options: Labels = {}


class EndpointRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a container joins one network."""

    ip: Name = ""
    ip6: Name = ""
    mac_address: Name = ""
    aliases: Words = []
    gateway_priority: Annotated[int, Meta(ge=-(2**31), lt=2**31)] = 0  # the highest has the route


class RestartPolicy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a container that ended is started again."""

    name: Literal["no", "always", "unless-stopped", "on-failure"] = "no"
    max_retries: Annotated[int, Meta(ge=0)] = 0  # only on-failure; 0 = no limit


class ContainerCreate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``container.create``. Empty values mean the image's or the default."""

    image: Text
    name: Name = ""
    cmd: Words = []
    entrypoint: Words | None = None  # None: the image's; [""] or []: none
    env: Words = []  # "K=V"; "K" alone removes the image's K
    working_dir: Text = ""
    user: Name = ""
    groups: Words = []
    hostname: Name = ""
    tty: bool = False
    open_stdin: bool = False
    labels: Labels = {}
    ports: Annotated[list[PortBinding], Meta(max_length=4096)] = []
    publish_all: bool = False
    expose: Words = []  # "80/tcp"
    mounts: Annotated[list[MountRequest], Meta(max_length=512)] = []
    # "bridge" (the predefined network), "none", "host", "container:NAME" or a network's name
    network_mode: Name = "bridge"
    networks: dict[
        Name, EndpointRequest
    ] = {}  # settings of network_mode's network, and further ones
    dns: Words = []
    dns_search: Words = []
    dns_options: Words = []
    extra_hosts: Words = []  # "name:ip"
    memory_bytes: Annotated[int, Meta(ge=0)] = 0
    memory_swap_bytes: Annotated[int, Meta(ge=-1)] = 0
    memory_reservation_bytes: Annotated[int, Meta(ge=0)] = 0
    nano_cpus: Annotated[int, Meta(ge=0)] = 0
    cpu_shares: Annotated[int, Meta(ge=0)] = 0
    cpuset_cpus: Name = ""
    pids_limit: Annotated[int, Meta(ge=-1)] = 0
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    shm_size_bytes: Annotated[int, Meta(ge=0)] = 64 << 20
    cap_add: Words = []
    cap_drop: Words = []
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = False
    seccomp: Annotated[str, Meta(max_length=1 << 20)] = "default"  # or "unconfined", or JSON text
    sysctls: Labels = {}
    ulimits: dict[Name, tuple[int, int]] = {}
    devices: Words = []
    init: bool = False
    auto_remove: bool = False
    restart_policy: RestartPolicy = RestartPolicy()
    health: HealthRequest = HealthRequest()
    stop_signal: Name = ""
    stop_timeout_s: Annotated[int, Meta(ge=-1)] = 10
    platform: Name = ""


# --- stored ---------------------------------------------------------------------------------

# After a kill "removing" is finished and "starting" is undone unless the program runs; the others
# are facts.
Phase = Literal["created", "starting", "running", "exited", "removing"]


class MountRecord(Struct, frozen=True, kw_only=True):
    """One mount as resolved at creation. ``name`` is the volume's, "" for bind and tmpfs."""

    type: Literal["bind", "volume", "tmpfs"]
    source: str
    target: str
    name: str = ""
    driver: str = ""
    read_only: bool = False
    no_copy: bool = False
    propagation: str = "rprivate"
    options: list[str] = []
    anonymous: bool = False


class BoundPort(PortBinding, frozen=True, kw_only=True):
    """A port as bound: host_ip and host_port filled in.

    ``by_default``: the address is of those that the configuration means, and comes and goes with
    them.
    """

    by_default: bool = False


class EndpointRecord(Struct, frozen=True, kw_only=True):
    """A container's place on one network; addresses are leased while the container exists."""

    id: str
    network_id: str
    interface: str
    mac: str
    addresses: list[str]  # "172.18.0.2/24"
    gateways: list[str]
    aliases: list[str]
    requested: EndpointRequest = EndpointRequest()


class ContainerRecord(Struct, frozen=True, kw_only=True):
    """All that is durable about one container."""

    id: str
    name: str
    created: str  # RFC 3339
    image_id: str
    image_name: str
    request: ContainerCreate
    args: list[str]  # entrypoint + cmd, resolved
    env: list[str]
    working_dir: str
    user: str
    stop_signal: str
    labels: dict[str, str]
    mounts: list[MountRecord]
    expose: list[str]
    phase: Phase
    network_mode: str  # "none", "host", "container:<id>", or the id of the first network
    endpoints: dict[str, EndpointRecord] = {}  # by network id
    ports: list[BoundPort] = []
    dns_port: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ""
    finished_at: str = ""
    stopped_by_hand: bool = False
    ending: Literal["", "down", "up"] = ""  # where a stop or a restart that is under way leads
    restart_count: int = 0
    health: HealthRecord | None = None
    was_healthy: bool = False  # in this run, by its last probe


# --- shown ----------------------------------------------------------------------------------


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


class HostConfigView(_View, frozen=True, kw_only=True):
    network_mode: str
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
    pids_limit: int
    cap_add: list[str]
    cap_drop: list[str]
    dns: list[str]
    dns_search: list[str]
    dns_options: list[str]
    extra_hosts: list[str]
    shm_size: int
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
