"""What is asked of a container. Strict: an unknown field is an error."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodeagent.model.health import HealthRequest
from nodeagent.model.logs import LogDriver

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
    volume_subpath: Text = ""  # only this folder or file of the volume
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


class IoLimit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a container may do with one block device: bytes or operations a second, or a weight."""

    kind: Literal["read_bps", "write_bps", "read_iops", "write_iops", "weight"]
    device: Text  # "/dev/sda"
    value: Annotated[int, Meta(ge=1)]  # a weight is 10 to 1000


class LimitsChange(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of a container to change; None leaves one as it is."""

    memory_bytes: Annotated[int, Meta(ge=1)] | None = None
    memory_swap_bytes: Annotated[int, Meta(ge=-1)] | None = None
    memory_reservation_bytes: Annotated[int, Meta(ge=1)] | None = None
    nano_cpus: Annotated[int, Meta(ge=1)] | None = None
    cpu_shares: Annotated[int, Meta(ge=2)] | None = None
    cpuset_cpus: Name | None = None
    pids_limit: Annotated[int, Meta(ge=-1)] | None = None
    storage_size_bytes: Annotated[int, Meta(ge=1)] | None = None  # from its next start on


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
    domainname: Name = ""
    pid_mode: Name = ""  # "" or "private", "host", "container:NAME"
    # "" or "private", "none": private without /dev/shm, "shareable": others may join it,
    # "container:NAME": that one's, "host"
    ipc_mode: Name = ""
    uts_mode: Name = ""  # "" or "private", "host"
    cgroupns_mode: Name = ""  # "" the default of this kernel, "private", "host"
    userns_mode: Name = ""  # "" or "host", "auto": ids of the host that nobody else has
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
    cpu_period_us: Annotated[int, Meta(ge=0)] = 0
    cpu_quota_us: Annotated[int, Meta(ge=-1)] = 0
    cpuset_cpus: Name = ""
    cpuset_mems: Name = ""
    memory_swappiness: Annotated[int, Meta(ge=-1, le=100)] = -1  # -1: the kernel's
    oom_kill_disable: bool = False
    blkio_weight: Annotated[int, Meta(ge=0)] = 0
    io_limits: Annotated[list[IoLimit], Meta(max_length=1024)] = []
    device_cgroup_rules: Words = []
    pids_limit: Annotated[int, Meta(ge=-1)] = 0
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    storage_size_bytes: Annotated[int, Meta(ge=0)] = 0  # of the writable layer; 0: the disk's
    shm_size_bytes: Annotated[int, Meta(ge=0)] = 64 << 20
    cap_add: Words = []
    cap_drop: Words = []
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = False
    system_paths: Literal["confined", "unconfined"] = "confined"  # masked and read-only of /proc
    seccomp: Annotated[str, Meta(max_length=1 << 20)] = "default"  # or "unconfined", or JSON text
    apparmor: Name = ""  # a profile that is loaded, or "unconfined"
    selinux: Words = []  # "disable", or "type:X" and its like
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
    log_driver: LogDriver | None = None  # None: the configured one, with its options
    log_options: Labels = {}  # "max-size", "max-file", "compress" and the driver's, as Docker's
