"""``linux.resources`` of a bundle, from the limits a container has.

Source: OCI runtime spec, "Control groups".
"""

from dataclasses import dataclass
from typing import Final

from runtime.contract.container import Limits
from runtime.errors import Invalid

Json = dict[str, object]
CPU_PERIOD_US: Final = 100_000
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What the kernel's groups can do here."""

    has_swap: bool = True
    is_v2: bool = False


def build_limits(limits: Limits, kernel: Kernel) -> Json:
    """``resources`` of what is limited.

    Raises:
        Invalid: this kernel cannot do it, and it would be ignored in silence.
    """
    if kernel.is_v2:
        _check_v2(limits)
    found: Json = {}
    if memory := _memory(limits, has_swap=kernel.has_swap):
        found["memory"] = memory
    if cpu := _cpu(limits):
        found["cpu"] = cpu
    if limits.pids:
        found["pids"] = {"limit": limits.pids}
    if limits.blkio_weight:
        found["blockIO"] = {"weight": limits.blkio_weight}
    return found


def _check_v2(limits: Limits) -> None:
    for field, is_asked in (
        ("memory_swappiness", limits.memory_swappiness >= 0),
        ("oom_kill_disable", limits.oom_kill_disable),
    ):
        if is_asked:
            raise Invalid("cgroup v2 has no such setting; leave it out", field=field)


def _memory(limits: Limits, *, has_swap: bool) -> Json:
    found: Json = {}
    if limits.memory_bytes:
        found["limit"] = limits.memory_bytes
        # Docker: as much swap again as memory, unless told
        swap = limits.memory_swap_bytes or 2 * limits.memory_bytes
        if has_swap:
            found["swap"] = swap
    if limits.memory_reservation_bytes:
        found["reservation"] = limits.memory_reservation_bytes
    if limits.memory_swappiness >= 0:
        found["swappiness"] = limits.memory_swappiness
    if limits.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _cpu(limits: Limits) -> Json:
    found: Json = {}
    if limits.nano_cpus:
        found["period"] = CPU_PERIOD_US
        found["quota"] = max(limits.nano_cpus * CPU_PERIOD_US // NS_PER_S, 1000)
    if limits.cpu_period_us:
        found["period"] = limits.cpu_period_us
    if limits.cpu_quota_us:
        found["quota"] = limits.cpu_quota_us
    if limits.cpu_shares:
        found["shares"] = limits.cpu_shares
    if limits.cpuset_cpus:
        found["cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        found["mems"] = limits.cpuset_mems
    return found
