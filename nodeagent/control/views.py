"""Records as Docker's clients expect to see them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Literal

from nodeagent.control.desired import endpoints_in_order, has_sandbox, own_ports, ports_text
from nodeagent.control.etcfiles import build_hostname
from nodeagent.control.health import Health, status_words
from nodeagent.control.names import endpoint_names
from nodeagent.control.securityrules import security_options
from nodeagent.control.times import NEVER, build_ago, build_time, parse_time
from nodeagent.model.container import ContainerRecord, EndpointRecord, MountRecord
from nodeagent.model.containerrequest import ContainerCreate, PortBinding
from nodeagent.model.containerview import (
    ConfigView,
    ContainerRow,
    ContainerView,
    EndpointView,
    HostConfigView,
    LogConfigView,
    MountView,
    NetworkSettingsView,
    PortView,
    RestartPolicyView,
    StateView,
    ThrottleView,
    WeightView,
)
from nodeagent.model.health import HealthcheckView, HealthLogView, HealthRecord, HealthView
from nodeagent.model.network import NetworkRecord
from runtime.contract.image import Image
from runtime.imageconfig import HealthCheck

NS_PER_S = 1_000_000_000
Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


def status(record: ContainerRecord, *, paused: bool, restarting: bool) -> Status:
    """Docker's word for the state."""
    match record.phase:
        case "running":
            return "paused" if paused else "running"
        case "exited":
            return "restarting" if restarting else "exited"
        case "removing":
            return "removing"
        case _:
            return "created"


def status_text(
    record: ContainerRecord,
    *,
    paused: bool,
    restarting: bool,
    now: float,
    health: Health | None = None,
    try_at: float = 0.0,
) -> str:
    """``Up 3 minutes (healthy)``, ``Exited (0) 2 hours ago``, ``Created``.

    What waits for its next start says when that is: ``Restarting (1) in 12 seconds, try 6``.
    """
    if record.phase == "running":
        up = f"Up {build_ago(now - parse_time(record.started_at))}"
        if record.error:  # a start clears it
            return f"{up} (Not adopted)"
        if paused:
            return f"{up} (Paused)"
        return f"{up} {status_words(health.status)}" if health else up
    if record.phase == "exited":
        if restarting:
            wait = build_ago(max(0.0, try_at - now)).lower()
            return f"Restarting ({record.exit_code}) in {wait}, try {record.restart_count + 1}"
        return f"Exited ({record.exit_code}) {build_ago(now - parse_time(record.finished_at))} ago"
    return record.phase.capitalize() if record.phase == "removing" else "Created"


def container_row(  # noqa: PLR0913  what memory knows of it beside the record
    record: ContainerRecord,
    networks: Mapping[str, NetworkRecord],
    *,
    paused: bool,
    restarting: bool,
    now: float,
    health: Health | None = None,
    try_at: float = 0.0,
) -> ContainerRow:
    """One line of ``container ls``."""
    running = record.phase == "running"
    published = [*record.ports, *own_ports(record, networks)]
    bound = {f"{port.container_port}/{port.protocol}" for port in published}
    exposed = [text for text in record.expose if text not in bound]
    ports = [*ports_text(published), *exposed] if running else []
    names = [networks[id_].name for id_ in record.endpoints if id_ in networks]
    return ContainerRow(
        id=record.id,
        names=record.name,
        image=record.image_name,
        command=" ".join(record.args),
        created_at=record.created,
        state=status(record, paused=paused, restarting=restarting),
        status=status_text(
            record, paused=paused, restarting=restarting, now=now, health=health, try_at=try_at
        ),
        ports=", ".join(ports),
        labels=",".join(f"{key}={value}" for key, value in record.labels.items()),
        mounts=",".join(mount.name or mount.source or mount.target for mount in record.mounts),
        networks=",".join(names or [record.network_mode]),
        running_for=f"{build_ago(now - parse_time(record.created))} ago",
    )


def health_view(health: Health) -> HealthView:
    """``State.Health`` of inspect."""
    return HealthView(
        status=health.status,
        failing_streak=health.failing_streak,
        log=[
            HealthLogView(
                start=build_time(each.start),
                end=build_time(each.end),
                exit_code=each.exit_code,
                output=each.output,
            )
            for each in health.log
        ],
    )


def healthcheck_view(check: HealthRecord | HealthCheck | None) -> HealthcheckView | None:
    """``Healthcheck`` of a container's or an image's config."""
    if check is None:
        return None
    return HealthcheckView(
        test=list(check.test),
        interval=round(check.interval_s * NS_PER_S),
        timeout=round(check.timeout_s * NS_PER_S),
        start_period=round(check.start_period_s * NS_PER_S),
        start_interval=round(check.start_interval_s * NS_PER_S),
        retries=check.retries,
    )


def state_view(
    record: ContainerRecord,
    *,
    paused: bool,
    restarting: bool,
    pid: int,
    health: Health | None = None,
) -> StateView:
    """``State`` of inspect."""
    return StateView(
        status=status(record, paused=paused, restarting=restarting),
        running=record.phase == "running",
        paused=paused,
        restarting=restarting,
        oom_killed=record.oom_killed,
        dead=False,
        pid=pid,
        exit_code=record.exit_code,
        error=record.error,
        started_at=record.started_at or NEVER,
        finished_at=record.finished_at or NEVER,
        health=health_view(health) if health else None,
    )


def mount_view(mount: MountRecord, source: str) -> MountView:
    """One element of ``Mounts``."""
    return MountView(
        type=mount.type,
        name=mount.name,
        source=source,
        destination=mount.target,
        driver=mount.driver,
        mode="ro" if mount.read_only else "",
        rw=not mount.read_only,
        propagation=mount.propagation if mount.type == "bind" else "",
    )


def endpoint_view(record: ContainerRecord, endpoint: EndpointRecord, *, live: bool) -> EndpointView:
    """One network of ``NetworkSettings.Networks``; addresses only while the sandbox is there."""
    shown = [ip_interface(text) for text in endpoint.addresses] if live else []
    v4 = next((each for each in shown if each.version == 4), None)
    v6 = next((each for each in shown if each.version == 6), None)
    gateways = endpoint.gateways if live else []
    return EndpointView(
        network_id=endpoint.network_id,
        endpoint_id=endpoint.id if live else "",
        gateway=next((text for text in gateways if ":" not in text), ""),
        ip_address=str(v4.ip) if v4 else "",
        ip_prefix_len=v4.network.prefixlen if v4 else 0,
        ipv6_gateway=next((text for text in gateways if ":" in text), ""),
        global_ipv6_address=str(v6.ip) if v6 else "",
        global_ipv6_prefix_len=v6.network.prefixlen if v6 else 0,
        mac_address=endpoint.mac if live else "",
        gw_priority=endpoint.requested.gateway_priority,
        aliases=endpoint.aliases,
        dns_names=endpoint_names(record, endpoint),
    )


def ports_view(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord], *, live: bool
) -> dict[str, list[PortView] | None]:
    """``Ports``: exposed ones are null, published ones list where."""
    found: dict[str, list[PortView] | None] = dict.fromkeys(record.expose) if live else {}
    for port in [*record.ports, *own_ports(record, networks)] if live else []:
        key = f"{port.container_port}/{port.protocol}"
        row = PortView(host_ip=port.host_ip, host_port=str(port.host_port))
        found[key] = [*(found.get(key) or []), row]
    return found


def _settings(
    record: ContainerRecord, networks: Mapping[str, NetworkRecord], run: Path, *, live: bool
) -> NetworkSettingsView:
    views = {
        networks[each.network_id].name: endpoint_view(record, each, live=live)
        for each in endpoints_in_order(record, networks)
    }
    first = next(iter(views.values()), None)
    own = live and has_sandbox(record)
    return NetworkSettingsView(
        sandbox_id=record.id if own else "",
        sandbox_key=str(run / "netns" / record.id) if own else "",
        ports=ports_view(record, networks, live=live),
        networks=views,
        ip_address=first.ip_address if first else "",
        gateway=first.gateway if first else "",
        mac_address=first.mac_address if first else "",
    )


def _config(record: ContainerRecord, image: Image | None) -> ConfigView:
    asked = record.request
    entrypoint = list(image.config.entrypoint) if image and asked.entrypoint is None else None
    return ConfigView(
        hostname=build_hostname(record),
        domainname=asked.domainname,
        user=record.user,
        tty=asked.tty,
        open_stdin=asked.open_stdin,
        env=record.env,
        cmd=asked.cmd or (list(image.config.cmd) if image else []),
        entrypoint=asked.entrypoint if asked.entrypoint is not None else (entrypoint or None),
        image=record.image_name,
        working_dir=record.working_dir,
        labels=record.labels,
        exposed_ports={text: {} for text in record.expose},
        stop_signal=record.stop_signal,
        stop_timeout=asked.stop_timeout_s,
        healthcheck=healthcheck_view(record.health),
    )


def _asked_ports(ports: Sequence[PortBinding]) -> dict[str, list[PortView]]:
    found: dict[str, list[PortView]] = {}
    for port in ports:
        outer = str(port.host_port) if port.host_port else ""
        if port.host_port_end:
            outer += f"-{port.host_port_end}"
        row = PortView(host_ip=port.host_ip, host_port=outer)
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(row)
    return found


def _throttles(asked: ContainerCreate, kind: str) -> list[ThrottleView]:
    found = (each for each in asked.io_limits if each.kind == kind)
    return [ThrottleView(path=each.device, rate=each.value) for each in found]


def _host_config(record: ContainerRecord) -> HostConfigView:
    asked = record.request
    return HostConfigView(
        log_config=LogConfigView(type=record.log.driver, config=record.log.options),
        network_mode=asked.network_mode,
        pid_mode=asked.pid_mode,
        ipc_mode=asked.ipc_mode or "private",
        uts_mode=asked.uts_mode,
        cgroupns_mode=asked.cgroupns_mode,
        userns_mode=asked.userns_mode,
        port_bindings=_asked_ports(asked.ports),
        restart_policy=RestartPolicyView(
            name=asked.restart_policy.name, maximum_retry_count=asked.restart_policy.max_retries
        ),
        on_unhealthy=asked.health.on_unhealthy,
        auto_remove=asked.auto_remove,
        privileged=asked.privileged,
        readonly_rootfs=asked.read_only,
        memory=asked.memory_bytes,
        memory_swap=asked.memory_swap_bytes,
        nano_cpus=asked.nano_cpus,
        cpu_shares=asked.cpu_shares,
        cpuset_cpus=asked.cpuset_cpus,
        cpuset_mems=asked.cpuset_mems,
        cpu_period=asked.cpu_period_us,
        cpu_quota=asked.cpu_quota_us,
        memory_reservation=asked.memory_reservation_bytes,
        memory_swappiness=None if asked.memory_swappiness < 0 else asked.memory_swappiness,
        oom_kill_disable=asked.oom_kill_disable,
        blkio_weight=asked.blkio_weight,
        blkio_device_read_bps=_throttles(asked, "read_bps"),
        blkio_device_write_bps=_throttles(asked, "write_bps"),
        blkio_device_read_iops=_throttles(asked, "read_iops"),
        blkio_device_write_iops=_throttles(asked, "write_iops"),
        blkio_weight_device=[
            WeightView(path=each.device, weight=each.value)
            for each in asked.io_limits
            if each.kind == "weight"
        ],
        device_cgroup_rules=asked.device_cgroup_rules,
        security_opt=security_options(asked),
        sysctls=asked.sysctls,
        pids_limit=asked.pids_limit,
        cap_add=asked.cap_add,
        cap_drop=asked.cap_drop,
        dns=asked.dns,
        dns_search=asked.dns_search,
        dns_options=asked.dns_options,
        extra_hosts=asked.extra_hosts,
        shm_size=asked.shm_size_bytes,
        storage_opt={"size": str(asked.storage_size_bytes)} if asked.storage_size_bytes else {},
        init=asked.init,
        binds=[
            f"{mount.name or mount.source}:{mount.target}{':ro' if mount.read_only else ''}"
            for mount in record.mounts
            if mount.type != "tmpfs"
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container's view needs from around its record."""

    networks: Mapping[str, NetworkRecord]
    image: Image | None
    sources: Mapping[str, str]  # host path by mount target
    etc: Path
    run: Path
    log_path: Path
    live: bool


def container_view(
    record: ContainerRecord, state: StateView, around: Surroundings
) -> ContainerView:
    """One element of ``container inspect``."""
    return ContainerView(
        id=record.id,
        created=record.created,
        path=record.args[0],
        args=record.args[1:],
        state=state,
        image=record.image_id,
        resolv_conf_path=str(around.etc / "resolv.conf"),
        hostname_path=str(around.etc / "hostname"),
        hosts_path=str(around.etc / "hosts"),
        log_path=str(around.log_path),
        name=f"/{record.name}",
        restart_count=record.restart_count,
        driver="overlay2",
        platform=around.image.os if around.image else "linux",
        mounts=[
            mount_view(each, around.sources.get(each.target, each.source)) for each in record.mounts
        ],
        config=_config(record, around.image),
        host_config=_host_config(record),
        network_settings=_settings(record, around.networks, around.run, live=around.live),
    )
