"""Which limits and kernel settings a container may ask for. Pure: nothing is asked of the host."""

import re
from typing import Final

from nodeagent.errors import Invalid
from nodeagent.model.containerrequest import ContainerCreate

# As Docker's: what the kernel keeps for each namespace by itself. Others would be the host's.
IPC_SYSCTLS: Final = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip
SYSCTL: Final = re.compile(r"[a-zA-Z0-9_.*-]+([./][a-zA-Z0-9_.*-]+)*")
DEVICE_RULE: Final = re.compile(r"[acb] (\d{1,7}|\*):(\d{1,7}|\*) [rwm]{1,3}")
CPU_LIST: Final = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*")
PERIOD_US: Final = (1_000, 1_000_000)
LEAST_DISK: Final = 16 << 20  # less of a file system has no room for its journal
WEIGHT: Final = (10, 1000)


def check_limits(request: ContainerCreate) -> None:
    """Refuse limits that no kernel takes, or that exclude each other (Invalid names the field)."""
    _check_cpu(request)
    if request.blkio_weight and not WEIGHT[0] <= request.blkio_weight <= WEIGHT[1]:
        raise Invalid("a weight is 10 to 1000", field="blkio_weight", value=request.blkio_weight)
    _check_io(request)
    if 0 < request.storage_size_bytes < LEAST_DISK:
        raise Invalid(
            "the least size of a writable layer is 16m", field="storage_size_bytes",
            value=request.storage_size_bytes,
        )  # fmt: skip
    if request.oom_kill_disable and not request.memory_bytes:
        raise Invalid(
            "without a memory limit the whole host would stand still; give one",
            field="oom_kill_disable",
        )
    for n, rule in enumerate(request.device_cgroup_rules):
        if not DEVICE_RULE.fullmatch(rule):
            raise Invalid(
                "a rule is TYPE MAJOR:MINOR ACCESS, as 'c 1:3 rw' or 'b *:* m'",
                field=f"device_cgroup_rules[{n}]",
                value=rule,
            )
    for name, value in request.sysctls.items():
        _check_sysctl(request, name, value)


def _check_io(request: ContainerCreate) -> None:
    seen: set[tuple[str, str]] = set()
    for n, limit in enumerate(request.io_limits):
        field = f"io_limits[{n}]"
        if not limit.device.startswith("/dev/"):
            raise Invalid(
                "a block device of the host, as /dev/sda", field=f"{field}.device",
                value=limit.device,
            )  # fmt: skip
        if limit.kind == "weight" and not WEIGHT[0] <= limit.value <= WEIGHT[1]:
            raise Invalid("a weight is 10 to 1000", field=f"{field}.value", value=limit.value)
        if (limit.kind, limit.device) in seen:
            raise Invalid("the same limit twice; leave one out", field=field, value=limit.device)
        seen.add((limit.kind, limit.device))


def _check_cpu(request: ContainerCreate) -> None:
    if request.nano_cpus and (request.cpu_period_us or request.cpu_quota_us):
        raise Invalid("give either cpus, or period and quota", field="nano_cpus")
    if request.cpu_period_us and not PERIOD_US[0] <= request.cpu_period_us <= PERIOD_US[1]:
        raise Invalid(
            "a period is 1000 to 1000000 microseconds",
            field="cpu_period_us",
            value=request.cpu_period_us,
        )
    if 0 < request.cpu_quota_us < PERIOD_US[0]:
        raise Invalid(
            "a quota is at least 1000 microseconds; -1 is none",
            field="cpu_quota_us",
            value=request.cpu_quota_us,
        )
    for field, value in (
        ("cpuset_cpus", request.cpuset_cpus),
        ("cpuset_mems", request.cpuset_mems),
    ):
        if value and not CPU_LIST.fullmatch(value):
            raise Invalid("a list as 0-3 or 0,2", field=field, value=value)


def _check_sysctl(request: ContainerCreate, name: str, value: str) -> None:
    field = f"sysctls.{name}"
    dotted = name.replace("/", ".")
    if not SYSCTL.fullmatch(name) or ".." in dotted or "\n" in value or "\0" in value:
        raise Invalid("not a kernel setting", field=field, value=value)
    if dotted.startswith("net."):
        head = request.network_mode.partition(":")[0]
        if head in {"host", "container"}:
            raise Invalid(
                f"net settings need a network of the container's own, not {head}'s",
                field=field,
                network_mode=request.network_mode,
            )
    elif dotted not in IPC_SYSCTLS and not dotted.startswith("fs.mqueue."):
        raise Invalid(
            "the setting is the host's, not a container's; there are net.*, fs.mqueue.* and"
            f" {', '.join(IPC_SYSCTLS)}",
            field=field,
        )
