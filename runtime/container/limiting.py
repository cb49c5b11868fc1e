"""Limits as the OCI runtimes take them, at the start of a container and while it runs.

Source: OCI runtime spec, "Control groups"; ``crun update`` and ``runc update``.
"""

import os
from typing import TYPE_CHECKING, Final

import msgspec

from runtime.container import oci
from runtime.contract.container import Limits
from runtime.errors import Conflict, Refused

if TYPE_CHECKING:
    from runtime.container.spec import Host
    from runtime.container.supervisor import Record

Json = dict[str, object]
CPU_PERIOD_US: Final = 100_000
NS_PER_S: Final = 1_000_000_000
NO_LIMIT: Final = -1


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


async def update(
    runtime: oci.Oci, record: "Record", container_id: str, limits: Limits, host: "Host"
) -> None:
    """Change the limits of a live container.

    Raises:
        Conflict: another runtime made it. Refused: the kernel said no, in the runtime's words.
    """
    if record.runtime != runtime.kind:
        raise Conflict(
            "update limits", id=container_id, why=f"made by {record.runtime}: restart it first"
        )
    resources = build_limits(limits, has_swap=host.swap)
    if not resources:
        return
    fd = os.memfd_create("resources", os.MFD_CLOEXEC)
    try:
        os.write(fd, msgspec.json.encode(resources))
        argv = (*runtime.argv, "update", "--resources", f"/proc/self/fd/{fd}", container_id)
        done = await oci.run(argv, pass_fds=(fd,))
    finally:
        os.close(fd)
    if done.code:
        raise Refused("update limits", id=container_id, says=done.tail)
