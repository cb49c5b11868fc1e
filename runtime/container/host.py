"""What this host and the agent's own rights allow, read once at start."""

import os
import resource
from pathlib import Path
from typing import Final

from runtime.container.cgroups import Layout, parse_mountinfo
from runtime.container.spec import RLIMITS, Host, parse_capability_mask

SELF: Final = Path("/proc/self")


def read_layout() -> Layout:
    """Where the cgroup hierarchies are mounted for us."""
    return parse_mountinfo((SELF / "mountinfo").read_text(encoding="utf-8", errors="replace"))


def _mask(status: str, name: str) -> int:
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 16)
    return 0


def _limits() -> dict[str, int]:
    """The agent's hard limits by Docker's names for them."""
    found = {}
    for name in RLIMITS:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            found[name] = resource.getrlimit(number)[1]
    return found


def _counts_swap(layout: Layout) -> bool:
    memory = layout.v1.get("memory")
    return memory is None or (memory / "memory.memsw.limit_in_bytes").exists()


def read_host(layout: Layout) -> Host:
    """Rights, limits and kernel features of this agent on this host."""
    status = (SELF / "status").read_text(encoding="utf-8", errors="replace")
    have = parse_capability_mask(_mask(status, "CapPrm") & _mask(status, "CapBnd"))
    can_raise = "CAP_SYS_RESOURCE" in have
    limits = _limits()
    if can_raise:  # it may go above its own limits, but for the number of files
        limits = {"nofile": _nr_open()}
    return Host(
        machine=os.uname().machine,
        capabilities=have,
        limits=limits,
        oom_score_adj=int((SELF / "oom_score_adj").read_text(encoding="ascii")),
        cgroup_v2=layout.is_v2,
        swap=_counts_swap(layout),
        can_raise=can_raise,
    )


def _nr_open() -> int:
    return int(Path("/proc/sys/fs/nr_open").read_text(encoding="ascii"))
