"""What a volume driver is, and what the agent sees of volumes and mounts.

A driver says where a volume's bytes are; ``Mounts`` puts them there. Third parties add drivers by
the entry point group ``nodeagent.volume_drivers``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """One volume as wanted. ``name`` has been validated: ``[a-zA-Z0-9][a-zA-Z0-9_.-]*``, <= 255."""

    name: str
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeUsage:
    """Space of one volume; -1 = not known."""

    used_bytes: int
    inodes: int
    limit_bytes: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeHealth:
    """Whether the volume can be used, and if not, why."""

    state: Literal["healthy", "unhealthy", "unknown"]
    reason: str = ""


class VolumeDriver(Protocol):
    """Where the bytes of one kind of volume live. All calls are idempotent."""

    name: ClassVar[str]
    scope: ClassVar[Literal["local", "global"]]

    def check(self, volume: VolumeSpec) -> None:
        """Refuse options this driver does not know or cannot serve (Invalid names the option)."""

    async def create(self, volume: VolumeSpec) -> None:
        """Make the volume if it is not there; an existing one keeps its data."""

    async def remove(self, volume: VolumeSpec) -> None:
        """Delete the volume and its data; nothing to do if it is gone."""

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """Make the bytes visible on this host for ``user`` (a container id); return where."""
        ...

    async def unmount(self, volume: VolumeSpec, user: str) -> None:
        """Give ``user``'s mount back; the last one unmounts."""

    def mountpoint(self, volume: VolumeSpec) -> Path:
        """Where the bytes are, or would be, on this host. No I/O."""
        ...

    async def usage(self, volume: VolumeSpec) -> VolumeUsage: ...

    async def health(self, volume: VolumeSpec) -> VolumeHealth: ...

    async def ls(self) -> list[str]:
        """Names this driver has bytes for, wanted or not."""
        ...

    async def clean(self) -> None:
        """Remove what a killed agent left half-made or half-deleted. Once, at start, before use."""


class CopyUp(Protocol):
    """First use of an empty volume over image content."""

    async def copy_up(self, rootfs: Path, target: str, volume: Path) -> bool:
        """Copy what the image has at ``target`` into an empty ``volume``; False if nothing to do.

        Safe against links in the image: ``target`` is resolved inside ``rootfs``
        (openat2 RESOLVE_IN_ROOT). Owner, mode, times, xattrs, hard links and devices are kept.
        Crash-safe: an interrupted copy is repeated, a volume with user data is never touched.
        """
        ...
