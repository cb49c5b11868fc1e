"""``linux.resources`` of a bundle, from the limits a container has.

Source: OCI runtime spec, "Control groups".
"""

from typing import Final

from runtime.contract.container import Limits

Json = dict[str, object]
CPU_PERIOD_US: Final = 100_000
NS_PER_S: Final = 1_000_000_000


def build_limits(limits: Limits, *, has_swap: bool) -> Json:
    """``resources`` of what is limited; ``has_swap``: whether the kernel counts swap."""
    found: Json = {}
    if memory := _memory(limits, has_swap=has_swap):
        found["memory"] = memory
    if cpu := _cpu(limits):
        found["cpu"] = cpu
    if limits.pids:
        found["pids"] = {"limit": limits.pids}
    return found


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
    return found


def _cpu(limits: Limits) -> Json:
    found: Json = {}
    if limits.nano_cpus:
        found["period"] = CPU_PERIOD_US
        found["quota"] = max(limits.nano_cpus * CPU_PERIOD_US // NS_PER_S, 1000)
    if limits.cpu_shares:
        found["shares"] = limits.cpu_shares
    if limits.cpuset_cpus:
        found["cpus"] = limits.cpuset_cpus
    return found
