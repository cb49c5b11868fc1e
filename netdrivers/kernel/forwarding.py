"""Who turned the host's forwarding on: a note of it outlives the guard.

Where we turn it on, a guard in our table keeps foreign traffic dropped. Somebody who flushes the
ruleset takes the guard along while forwarding stays on, and then the kernel cannot say that it was
us. A file beside the pins can; it counts for one boot and one network namespace.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from netdrivers.errors import Refused
from netdrivers.kernel.access import Access
from netdrivers.plan.objects import Element

FORWARD_SYSCTL: Final[Mapping[str, str]] = {
    "ipv4": "net.ipv4.ip_forward",
    "ipv6": "net.ipv6.conf.all.forwarding",
}


def guard_of(family: str) -> Element:
    """What keeps foreign traffic of a family dropped."""
    return Element(set="guarded", match=(family,), owner="")


def is_noted(access: Access, family: str) -> bool:
    """Whether it was us who turned forwarding on."""
    try:
        return _path(access, family).read_text("ascii") == _here(access)
    except FileNotFoundError:
        return False


def write_note(access: Access, family: str) -> None:
    """Note that it is us, before it is done (Refused: the file cannot be written)."""
    path = _path(access, family)
    try:
        path.write_text(_here(access), "ascii")
    except OSError as exc:
        what = "note that forwarding is turned on"
        raise Refused(what, file=str(path), reason=exc.strerror) from exc


def remove_note(access: Access, family: str) -> None:
    """Forget it, once forwarding is off."""
    _path(access, family).unlink(missing_ok=True)


def _path(access: Access, family: str) -> Path:
    return access.pins.parent / f"forwarding-{family}"


def _here(access: Access) -> str:
    return f"{_boot_id()} {os.fstat(access.namespaces.home).st_ino}\n"


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
