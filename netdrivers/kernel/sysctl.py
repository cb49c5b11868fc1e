"""Values below /proc/sys, read and written in the namespace of the calling thread."""

import os
from pathlib import Path
from typing import Final

from netdrivers.errors import Invalid, Refused

ROOT: Final = Path("/proc/sys")
VALUE_BYTES: Final = 4096


def read_sysctl(name: str) -> str | None:
    """The value with single spaces, or None when the kernel has no such name."""
    try:
        fd = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)  # 8 us; by way of Path 20
        try:
            return " ".join(os.read(fd, VALUE_BYTES).decode("ascii").split())
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise Refused("read a sysctl", sysctl=name, reason=exc.strerror) from exc


def set_sysctl(name: str, value: str) -> None:
    """Write a value."""
    try:
        _path(name).write_text(value, encoding="ascii")
    except OSError as exc:
        raise Refused("set a sysctl", sysctl=name, value=value, reason=exc.strerror) from exc


def set_link_sysctl(link: str, name: str, value: str) -> None:
    """Write an IPv6 setting of one link, whose name may hold dots."""
    try:
        (ROOT / "net/ipv6/conf" / link / name).write_text(value, encoding="ascii")
    except OSError as exc:
        raise Refused("set a sysctl", link=link, sysctl=name, reason=exc.strerror) from exc


def _path(name: str) -> Path:
    # only the network's: the rest of /proc/sys does not belong to a namespace of ours
    if not name.startswith("net.") or "/" in name or ".." in name:
        raise Invalid("not a sysctl of the network", sysctl=name)
    return ROOT.joinpath(*name.split("."))
