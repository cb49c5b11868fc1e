"""Limits of single block devices: which file of the kernel keeps them, and whether it is there.

Source: Linux block/blk-throttle.c and bfq-cgroup.c (file names); OCI runtime-spec, "Block IO".
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.container.cgroups import Cgroup
from runtime.contract.container import IoLimit
from runtime.errors import Invalid

Json = dict[str, object]
OCI_NAMES: Final = {
    "read_bps": "throttleReadBpsDevice", "write_bps": "throttleWriteBpsDevice",
    "read_iops": "throttleReadIOPSDevice", "write_iops": "throttleWriteIOPSDevice",
    "weight": "weightDevice",
}  # fmt: skip
V1_FILES: Final = {
    "read_bps": ("blkio.throttle.read_bps_device",),
    "write_bps": ("blkio.throttle.write_bps_device",),
    "read_iops": ("blkio.throttle.read_iops_device",),
    "write_iops": ("blkio.throttle.write_iops_device",),
    "weight": ("blkio.weight_device",),  # bfq has its own, which crun does not know
}


def read_io_limits(limits: Sequence[IoLimit], cgroup: Cgroup) -> Json:
    """``resources.blockIO`` of these limits; {} if there are none.

    Raises:
        Invalid: no such block device, or this kernel has no file for the limit.
    """
    if not limits:
        return {}
    _check_kernel(limits, cgroup)
    found: dict[str, list[Json]] = {}
    for n, limit in enumerate(limits):
        major, minor = _read_numbers(limit.device, f"io_limits[{n}].device")
        key = "weight" if limit.kind == "weight" else "rate"
        row: Json = {"major": major, "minor": minor, key: limit.value}
        found.setdefault(OCI_NAMES[limit.kind], []).append(row)
    return dict(found)


def _read_numbers(path: str, field: str) -> tuple[int, int]:
    try:
        info = os.stat(path)  # noqa: PTH116  st_rdev is all we want
    except OSError as exc:
        raise Invalid(
            "no such device on the host", field=field, value=path, reason=exc.strerror
        ) from exc
    if not stat.S_ISBLK(info.st_mode):
        raise Invalid("not a block device: give one of lsblk", field=field, value=path)
    return os.major(info.st_rdev), os.minor(info.st_rdev)


def _check_kernel(limits: Sequence[IoLimit], cgroup: Cgroup) -> None:
    files = _read_files(cgroup)
    for n, limit in enumerate(limits):
        wanted = ("io",) if cgroup.layout.is_v2 else V1_FILES[limit.kind]
        if files.isdisjoint(wanted):
            raise Invalid(
                f"this kernel cannot do it: it has no {' or '.join(wanted)}; leave the limit out",
                field=f"io_limits[{n}]",
                kind=limit.kind,
            )


def _read_files(cgroup: Cgroup) -> set[str]:
    """v2: the controllers; v1: the files a group has, of which the root's lacks some."""
    if cgroup.layout.is_v2:
        return set(Path(f"{cgroup.layout.unified}/cgroup.controllers").read_text("ascii").split())
    top = cgroup.layout.v1.get("blkio")
    if top is None:
        return set()
    # the container's own, which is about to be made: a kill here leaves what the next start removes
    path = Path(f"{top}{cgroup.path}")
    path.mkdir(parents=True, exist_ok=True)
    try:
        return {entry.name for entry in path.iterdir()}
    finally:
        path.rmdir()
