"""The OCI runtime configuration of a container, from our spec. Pure.

Source: OCI runtime-spec 1.0.2; defaults as Docker documents and shows them.
"""

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from runtime.container import seccomp
from runtime.container.resources import Kernel, build_limits
from runtime.container.users import Identity
from runtime.contract.container import ContainerSpec, MountPoint, ProcessSpec
from runtime.errors import Invalid

Json = dict[str, object]

INIT_TARGET: Final = "/dev/init"  # on the container's own tmpfs: leaves no trace in the image
SHM: Final = "/dev/shm"  # noqa: S108  a mount point
CPU_PERIOD_US: Final = 100_000
NS_PER_S: Final = 1_000_000_000
CONSOLE_MAX: Final = 1000  # conmon refuses larger terminals

CAPABILITIES: Final = tuple(
    f"CAP_{name}"
    for name in """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
    SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()  # noqa: SIM905
)  # the place in the list is the bit

DEFAULT_CAPABILITIES: Final = tuple(
    f"CAP_{name}"
    for name in """CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
    NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE""".split()  # noqa: SIM905
)

MASKED: Final = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# major:minor of null zero full tty urandom random, ptys and /dev/ptmx
DEVICE_RULES: Final = (
    ("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 5, 0), ("c", 1, 9), ("c", 1, 8),
    ("c", 136, None), ("c", 5, 2),
)  # fmt: skip

RLIMITS: Final = frozenset(
    """as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending
    stack""".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node of the host that the container shall have."""

    target: str
    type: str  # "c" or "b"
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this host and the agent's own rights allow."""

    machine: str
    capabilities: frozenset[str]
    limits: Mapping[str, int] = field(default_factory=dict)  # hard limits of the agent; -1 none
    oom_score_adj: int = 0
    cgroup_v2: bool = False
    swap: bool = True  # the kernel counts swap
    can_raise: bool = False  # CAP_SYS_RESOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What was read from disk for one container, before the pure part begins."""

    identity: Identity
    devices: tuple[Device, ...] = ()
    cgroup: str = ""
    block_io: Mapping[str, object] = field(default_factory=dict)  # of single devices
    init: str = ""  # path of a static init on the host


def parse_capability_mask(mask: int) -> frozenset[str]:
    """The names of the bits, e.g. of CapBnd in /proc/self/status."""
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)


def _capability(name: str) -> str:
    full = name.upper()
    full = full if full.startswith("CAP_") else f"CAP_{full}"
    if full not in CAPABILITIES:
        raise Invalid("no such capability", capability=name)
    return full


def capabilities(spec: ContainerSpec, host: Host) -> list[str]:
    """Docker's rules: default set, plus ``cap_add``, minus ``cap_drop``; ALL is all we have."""
    if spec.privileged:
        return [cap for cap in CAPABILITIES if cap in host.capabilities]
    add = {name.upper() for name in spec.cap_add}
    drop = {name.upper() for name in spec.cap_drop}
    have = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES)
    if "ALL" in add:
        have = set(CAPABILITIES)
    have |= {_capability(name) for name in add - {"ALL"}}
    have -= {_capability(name) for name in drop - {"ALL"}}
    return [cap for cap in CAPABILITIES if cap in have & host.capabilities]


def _namespaces(spec: ContainerSpec, host: Host) -> list[Json]:
    # on v1 Docker shares it: tools look their path up below /sys
    usual = "" if host.cgroup_v2 and not spec.privileged else "host"
    asked = {
        "pid": spec.pid_ns, "mount": "", "ipc": spec.ipc_ns.removeprefix("none"),
        "uts": spec.uts_ns, "cgroup": (spec.cgroup_ns or usual).removeprefix("private"),
    }  # fmt: skip
    found: list[Json] = [
        {"type": kind, "path": where} if where else {"type": kind}
        for kind, where in asked.items()
        if where != "host"
    ]
    if spec.ids:
        found.append({"type": "user"})
    if spec.netns:
        found.append({"type": "network", "path": spec.netns})
    return found


def _mount(target: str, kind: str, source: str, *options: str) -> Json:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _base_mounts(spec: ContainerSpec) -> Iterator[Json]:
    safe = ("nosuid", "noexec", "nodev")
    mode = "rw" if spec.privileged else "ro"
    yield _mount("/proc", "proc", "proc", *safe)
    yield _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
    pts = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    yield _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", *pts)
    if spec.ids:  # whose network namespace is not its user namespace's may mount no sysfs
        yield _mount("/sys", "bind", "/sys", "rbind", "rslave", *safe, mode)
    else:
        yield _mount("/sys", "sysfs", "sysfs", *safe, mode)
    yield _mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "relatime", mode)
    yield _mount("/dev/mqueue", "mqueue", "mqueue", *safe)
    if spec.ipc_ns == "none" or any(mount.target == SHM for mount in spec.mounts):
        return
    if spec.ipc_ns == "host":
        yield _mount(SHM, "bind", SHM, "rbind", "nosuid", "noexec", "nodev")
    else:
        size = f"size={spec.shm_size_bytes}"
        yield _mount(SHM, "tmpfs", "shm", *safe, "mode=1777", size)


def _user_mount(mount: MountPoint) -> Json:
    access = "ro" if mount.read_only else "rw"
    if mount.type == "tmpfs":
        options = ("noexec", "nosuid", "nodev", access, *mount.options)
        return _mount(mount.target, "tmpfs", "tmpfs", *options)
    return _mount(
        mount.target, "bind", mount.source, "rbind", access, mount.propagation, *mount.options
    )


def _mounts(spec: ContainerSpec, parts: Parts) -> list[Json]:
    mounts = [*_base_mounts(spec), *(_user_mount(mount) for mount in spec.mounts)]
    if parts.init:
        mounts.append(_mount(INIT_TARGET, "bind", parts.init, "bind", "ro", "nosuid", "nodev"))
    return mounts


def _rlimits(ulimits: Mapping[str, tuple[int, int]], host: Host) -> list[Json]:
    found: list[Json] = []
    for name, (soft, hard) in ulimits.items():
        if name not in RLIMITS:
            raise Invalid("read ulimit", ulimit=name)
        top = host.limits.get(name, -1)
        most = _clamp(hard, top)
        pair = {"hard": most, "soft": _clamp(soft, most)}
        found.append({"type": f"RLIMIT_{name.upper()}", **{k: _rlim(v) for k, v in pair.items()}})
    return found


def _clamp(value: int, top: int) -> int:
    """The smaller one, where -1 is no limit."""
    if top < 0:
        return value
    return top if value < 0 else min(value, top)


def _rlim(value: int) -> int:
    return (1 << 64) - 1 if value < 0 else value


def default_env(env: Iterable[str], identity: Identity, *, hostname: str, tty: bool) -> list[str]:
    """The caller's variables over Docker's defaults; the last of two equal names wins."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    found = {"PATH": path, "HOSTNAME": hostname} if hostname else {"PATH": path}
    if tty:
        found["TERM"] = "xterm"
    found["HOME"] = identity.home
    for item in env:
        name, equals, value = item.partition("=")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)  # "NAME" alone takes a variable away
    return [f"{name}={value}" for name, value in found.items()]


def build_process(process: ProcessSpec, identity: Identity, caps: list[str]) -> Json:
    """The part that a container and an exec share."""
    if not process.args or not process.args[0]:
        raise Invalid("build process", field="args", reason="no command")
    full = [] if identity.uid else caps  # as Docker: only root holds them, others may gain them
    found: Json = {
        "terminal": process.tty,
        "user": {
            "uid": identity.uid,
            "gid": identity.gid,
            "additionalGids": list(identity.groups),
        },
        "args": list(process.args),
        "cwd": process.cwd or "/",
        "capabilities": {"bounding": caps, "effective": full, "permitted": full},
    }
    if process.tty and process.rows and process.columns:
        size = {
            "height": min(process.rows, CONSOLE_MAX),
            "width": min(process.columns, CONSOLE_MAX),
        }
        found["consoleSize"] = size
    return found


def _process(spec: ContainerSpec, host: Host, parts: Parts) -> Json:
    process, identity = spec.process, parts.identity
    found = build_process(process, identity, capabilities(spec, host))
    if parts.init:
        found["args"] = [INIT_TARGET, "--", *process.args]
    found["env"] = default_env(process.env, identity, hostname=spec.hostname, tty=process.tty)
    found["noNewPrivileges"] = spec.no_new_privileges
    found["rlimits"] = _rlimits(spec.ulimits, host)
    if spec.apparmor not in {"", "unconfined"}:
        found["apparmorProfile"] = spec.apparmor
    if spec.limits.oom_score_adj:
        lowest = -1000 if host.can_raise else host.oom_score_adj
        found["oomScoreAdj"] = max(spec.limits.oom_score_adj, lowest)
    return found


def _device_rules(spec: ContainerSpec, devices: Iterable[Device]) -> Iterator[Json]:
    if spec.privileged:
        yield {"allow": True, "access": "rwm"}
        return
    yield {"allow": False, "access": "rwm"}
    for kind in ("c", "b"):
        yield {"allow": True, "type": kind, "access": "m"}  # mknod alone harms nobody
    for kind, major, minor in DEVICE_RULES:
        rule: Json = {"allow": True, "type": kind, "major": major, "access": "rwm"}
        yield rule if minor is None else {**rule, "minor": minor}
    for device in devices:
        yield {"allow": True, "type": device.type, "major": device.major,
               "minor": device.minor, "access": device.access}  # fmt: skip


def _asked_rules(spec: ContainerSpec) -> Iterator[Json]:
    """``c 1:3 rw`` as the runtimes take it; validated by whoever asked."""
    for rule in spec.device_rules:
        type_, numbers, access = rule.split(" ")
        major, minor = numbers.split(":")
        found: Json = {"allow": True, "type": type_, "access": access}
        found |= {} if major == "*" else {"major": int(major)}
        yield found | ({} if minor == "*" else {"minor": int(minor)})


def _resources(spec: ContainerSpec, host: Host, parts: Parts) -> Json:
    limits = build_limits(spec.limits, Kernel(has_swap=host.swap, is_v2=host.cgroup_v2))
    if parts.block_io:
        weight = {"weight": spec.limits.blkio_weight} if spec.limits.blkio_weight else {}
        limits["blockIO"] = {**weight, **parts.block_io}
    return {"devices": [*_device_rules(spec, parts.devices), *_asked_rules(spec)], **limits}


def _sysctls(spec: ContainerSpec) -> dict[str, str]:
    domain = {"kernel.domainname": spec.domainname} if spec.domainname else {}
    return {**domain, **spec.sysctls}


def _device(device: Device) -> Json:
    return {
        "path": device.target, "type": device.type, "major": device.major, "minor": device.minor,
        "fileMode": stat.S_IMODE(device.mode), "uid": device.uid, "gid": device.gid,
    }  # fmt: skip


def _linux(spec: ContainerSpec, host: Host, parts: Parts) -> Json:
    found: Json = {
        "namespaces": _namespaces(spec, host),
        "cgroupsPath": parts.cgroup,
        "resources": _resources(spec, host, parts),
        "devices": [_device(device) for device in parts.devices],
        "sysctl": _sysctls(spec),
    }
    if spec.ids:
        row: Json = {"containerID": 0, "hostID": spec.ids.first, "size": spec.ids.count}
        found["uidMappings"] = found["gidMappings"] = [row]
    if spec.privileged:
        return found
    if spec.system_paths:
        found["maskedPaths"] = list(MASKED)
        found["readonlyPaths"] = list(READ_ONLY)
    profile = seccomp.build(spec.seccomp, host.machine, capabilities(spec, host))
    if profile is not None:
        found["seccomp"] = profile
    return found


def build_config(spec: ContainerSpec, host: Host, parts: Parts) -> Json:
    """The whole ``config.json``.

    Raises:
        Invalid: a capability, ulimit or seccomp profile that does not exist.
    """
    return {
        "ociVersion": "1.0.2",
        "process": _process(spec, host, parts),
        "root": {"path": str(spec.rootfs), "readonly": spec.read_only},
        "hostname": "" if spec.uts_ns == "host" else spec.hostname,
        "mounts": _mounts(spec, parts),
        "linux": _linux(spec, host, parts),
        "annotations": {"org.nodeagent.name": spec.name},
    }


def build_exec(config: Json, process: ProcessSpec, identity: Identity, host: Host | None) -> Json:
    """The process of an exec: the container's rights and limits, unless privileged.

    Args:
        config: the container's ``config.json``.
        host: for a privileged exec, all that the agent may give; None otherwise.
    """
    first = config["process"]
    if not isinstance(first, dict):
        raise Invalid("read config", field="process")
    if host is None:
        caps = [str(cap) for cap in first["capabilities"]["bounding"]]
    else:
        caps = [cap for cap in CAPABILITIES if cap in host.capabilities]
    found = build_process(process, identity, caps)
    hostname = str(config.get("hostname", ""))
    found["env"] = default_env(process.env, identity, hostname=hostname, tty=process.tty)
    found["noNewPrivileges"] = host is None and bool(first.get("noNewPrivileges"))
    found["rlimits"] = first.get("rlimits", [])
    if host is not None and "apparmorProfile" in first:
        found["apparmorProfile"] = first["apparmorProfile"]
    return found
