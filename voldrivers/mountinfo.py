"""The kernel's list of mounts, parsed.

Source: proc_pid_mountinfo(5).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_FIELDS_MIN: Final = 10  # six, at least no optional one, the separator, three


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo."""

    id: int
    parent: int
    device: str  # "8:1"
    root: str  # which part of the file system is mounted
    target: Path
    options: tuple[str, ...]
    propagation: tuple[str, ...]  # "shared:12", "master:3", …
    type: str
    source: str
    super_options: tuple[str, ...]


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Read all lines; one that is not a mount (a newer kernel's, a cut one) is passed over."""
    mounts = (_parse_line(line) for line in text.split(b"\n"))
    return [mount for mount in mounts if mount is not None]


def _parse_line(line: bytes) -> Mount | None:
    fields = line.split(b" ")
    if len(fields) < _FIELDS_MIN or b"-" not in fields[6:-3]:
        return None
    dash = fields.index(b"-", 6)
    if not (fields[0].isdigit() and fields[1].isdigit()):
        return None
    return Mount(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=_text(fields[2]),
        root=_text(fields[3]),
        target=Path(_text(fields[4])),
        options=tuple(_text(fields[5]).split(",")),
        propagation=tuple(_text(each) for each in fields[6:dash]),
        type=_text(fields[dash + 1]),
        source=_text(fields[dash + 2]),
        super_options=tuple(_text(fields[dash + 3]).split(",")),
    )


def _text(raw: bytes) -> str:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), raw).decode(
        errors="surrogateescape"
    )


def targets_below(mounts: list[Mount], folder: Path) -> list[Path]:
    """Where something is mounted on ``folder`` or in it."""
    return [mount.target for mount in mounts if mount.target.is_relative_to(folder)]
