"""Limits of a container changed while it runs.

Source: ``crun update`` and ``runc update``.
"""

import os
from typing import TYPE_CHECKING

import msgspec

from runtime.container import oci
from runtime.container.resources import Kernel, build_limits
from runtime.contract.container import Limits
from runtime.errors import Conflict, Refused

if TYPE_CHECKING:
    from runtime.container.spec import Host
    from runtime.container.supervisor import Record


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
    resources = build_limits(limits, Kernel(has_swap=host.swap, is_v2=host.cgroup_v2))
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
