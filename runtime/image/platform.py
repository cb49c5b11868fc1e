"""Platforms: what this host runs, and which entry of a manifest list fits it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from runtime import errors

# uname -m to the OCI's names
MACHINES: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}
ALIASES: Final = {**MACHINES, "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
# The variant that a missing one means.
BASELINE: Final = {"arm": "v7", "arm64": "v8", "amd64": "v1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """An operating system and a processor."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def host_platform() -> Platform:
    """What this host runs."""
    architecture, variant = MACHINES.get(os.uname().machine, (os.uname().machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str, host: Platform) -> Platform:
    """Read ``linux/arm64/v8``, ``linux/amd64`` or ``arm64``; "" is ``host`` (Invalid)."""
    if not text:
        return host
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = [parts[0], host.architecture] if parts[0] == "linux" else ["linux", parts[0]]
    if len(parts) > 3 or not all(part.isalnum() and part.isascii() for part in _words(parts)):
        raise errors.Invalid("parse platform", platform=text[:100], form="os/arch[/variant]")
    architecture, variant = ALIASES.get(parts[1], (parts[1], ""))
    return Platform(
        os=parts[0], architecture=architecture, variant=parts[2] if len(parts) == 3 else variant
    )


def best_match(want: Platform, offered: Iterable[Platform]) -> int | None:
    """The index of the best entry: highest variant that ``want`` can run, the first of equals."""
    best: tuple[int, int] | None = None
    for index, platform in enumerate(offered):
        rank = _rank(want, platform)
        if rank is not None and (best is None or rank > best[0]):
            best = (rank, index)
    return None if best is None else best[1]


def fits(want: Platform, offered: Platform) -> bool:
    """Whether ``want`` can run what was made for ``offered``."""
    return _rank(want, offered) is not None


def _words(parts: list[str]) -> list[str]:
    return [part.replace("_", "") for part in parts]


def _rank(want: Platform, offered: Platform) -> int | None:
    """How well ``offered`` suits: its variant's number, None if it cannot run."""
    if (want.os, want.architecture) != (offered.os, offered.architecture):
        return None
    base = BASELINE.get(want.architecture, "")
    have, need = want.variant or base, offered.variant or base
    if have == need:
        return 1 << 16
    level, needed = _level(have), _level(need)
    if level is None or needed is None or needed > level:
        return None
    return needed


def _level(variant: str) -> int | None:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else None
