"""What a volume driver is, and what the agent sees of volumes and mounts.

A driver says where a volume's bytes are and puts them there. Third parties add drivers by the entry
point group ``nodeagent.volume_drivers``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

SNAPSHOT_MARK: Final = "@"  # between a volume and what was made of it; no name a user gives has it


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """One volume as wanted. ``name`` has been validated: ``[a-zA-Z0-9][a-zA-Z0-9_.-]*``, <= 255.

    A snapshot or a removed volume is a volume to its driver, named ``VOLUME@LABEL``.
    """

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


Ability = Literal["rename", "clone", "resize", "heal"]
CloneMethod = Literal["reflink", "subvolume", "copy"]


class VolumeDriver(Protocol):
    """Where the bytes of one kind of volume live. All calls are idempotent."""

    @property
    def name(self) -> str:
        """As users choose it."""
        ...

    @property
    def scope(self) -> Literal["local", "global"]:
        """``global``: a name means the same volume on every host."""
        ...

    def abilities(self, volume: VolumeSpec) -> frozenset[Ability]:
        """What else it can do with the volume than keep bytes. No I/O."""
        ...

    def check(self, volume: VolumeSpec) -> None:
        """Refuse options this driver does not know or cannot serve (Invalid names the option)."""

    def domain(self, volume: VolumeSpec) -> str:
        """Which volumes hang together when one of them does: those of one domain."""
        ...

    async def create(self, volume: VolumeSpec) -> None:
        """Make the volume if it is not there; an existing one keeps its data."""

    async def remove(self, volume: VolumeSpec) -> None:
        """Delete the volume and its data; nothing to do if it is gone."""

    async def mount(self, volume: VolumeSpec, user: str) -> Path:
        """Make the bytes visible on this host for ``user`` (a lease's holder); return where."""
        ...

    async def unmount(self, volume: VolumeSpec, user: str, *, last: bool) -> None:
        """Give ``user``'s mount back; ``last``: nobody else has one, so nothing stays mounted."""

    def mountpoint(self, volume: VolumeSpec) -> Path | None:
        """Where the bytes are, or would be, on this host; None: not known yet. No I/O."""
        ...

    async def usage(self, volume: VolumeSpec) -> VolumeUsage: ...

    async def health(self, volume: VolumeSpec) -> VolumeHealth: ...

    async def rename(self, volume: VolumeSpec, name: str) -> None:
        """Give unmounted bytes another name, over none that is there (``rename``)."""

    async def swap(self, volume: VolumeSpec, name: str) -> None:
        """Exchange the unmounted bytes of two names in one step (``rename``)."""

    async def clone(self, volume: VolumeSpec, target: VolumeSpec) -> CloneMethod:
        """Make ``target`` of the bytes ``volume`` has at a moment; say how (``clone``)."""
        ...

    async def resize(self, volume: VolumeSpec) -> None:
        """Bring the volume to the size its options say; it may be mounted (``resize``)."""

    async def heal(self, volume: VolumeSpec) -> bool:
        """Mount anew what somebody uses and whose program died; whether it had to (``heal``)."""
        ...

    async def clean(self) -> None:
        """Remove what a killed agent left half-made or half-deleted. Once, at start, before use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverState:
    """How a volume's driver answers, as seen by the last calls."""

    breaker: Literal["closed", "open", "half-open"]
    reason: str = ""  # of the last failure; "" while closed


class GuardedDriver(VolumeDriver, Protocol):
    """A driver whose calls all end: in time, or as Unavailable."""

    def state(self, volume: VolumeSpec) -> DriverState:
        """Whether calls about the volume are answered. No I/O."""
        ...

    def timings(self) -> Iterator[tuple[str, str, int, float]]:
        """(operation, result, calls, seconds in all) since the start."""
        ...


class Drivers(Protocol):
    """All drivers of this host; plugins among them come and go."""

    def find(self, name: str) -> GuardedDriver | None:
        """The driver of that name, if there is one now.

        Raises:
            Invalid: a file that names a plugin cannot be used.
        """
        ...

    def of(self, name: str) -> GuardedDriver:
        """The driver of a volume that exists; one that is not there now says so when asked."""
        ...

    def all(self) -> Iterable[GuardedDriver]:
        """Those that were asked for, and those that are always there."""
        ...


class Backups(Protocol):
    """Trees of volumes, one a moment, that share what did not change."""

    async def write(self, source: Path, target: Path, stamp: str, *, keep: int) -> "BackupReport":
        """Write one tree below ``target``; delete the oldest of more than ``keep`` (0 = none)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What a backup has, and how many files of it are the last one's."""

    files: int
    bytes: int
    shared_files: int


class PartMounts(Protocol):
    """Parts of volumes as mounts of their own."""

    async def open(self, container_id: str, n: int, volume: Path, subpath: str) -> Path:
        """Mount what a volume has at ``subpath``; where it is (Missing, Refused)."""
        ...

    async def graft(self, pid: int, source: Path, target: str, *, read_only: bool) -> None:
        """Exchange a mount inside a running container for one of the host (Refused: why not)."""

    async def close(self, container_id: str) -> None:
        """Unmount all parts a container has. Idempotent."""

    async def ls(self) -> list[str]:
        """Containers that have parts mounted, or had when an agent was killed."""
        ...


class CopyUp(Protocol):
    """First use of an empty volume over image content."""

    async def copy_up(self, rootfs: Path, target: str, volume: Path) -> bool:
        """Copy what the image has at ``target`` into an empty ``volume``; False if nothing to do.

        Safe against links in the image: ``target`` is resolved inside ``rootfs``
        (openat2 RESOLVE_IN_ROOT). Owner, mode, times, xattrs, hard links and devices are kept.
        Crash-safe: an interrupted copy is repeated, a volume with user data is never touched.
        """
        ...
