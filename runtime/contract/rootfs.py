"""What root filesystems and shared memory offer, as Protocols; callers see no concrete class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from runtime.contract.files import Change, Chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange:
    """The ids of the host that a user namespace has as 0 and on: users and groups alike."""

    first: int
    count: int

    def inside(self, number: int) -> int:
        """A host's id as the namespace sees it."""
        return number - self.first if 0 <= number - self.first < self.count else OVERFLOW_ID

    def outside(self, number: int) -> int:
        """An id of the namespace on the host."""
        return self.first + (number if 0 <= number < self.count else OVERFLOW_ID)


OVERFLOW_ID: Final = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a writable layer of a size holds, and could hold."""

    used_bytes: int
    size_bytes: int


class RootFilesystems(Protocol):
    """Writable overlayfs roots under ``ROOT/containers/<id>``, mounted in the agent's namespace."""

    async def mount(
        self,
        container_id: str,
        layers: Sequence[Path],
        *,
        image_id: str,
        size_bytes: int = 0,
        ids: IdRange | None = None,
    ) -> Path:
        """Make upper and work directories if new, mount, return the merged path. Idempotent.

        Args:
            size_bytes: what the writable layer can hold; 0 = as much as the disk.
            ids: whose files they are; the same at each mount, or None for the host's own.
        """
        ...

    async def unmount(self, container_id: str) -> None:
        """Unmount if mounted; data stays."""

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the writable layer. Idempotent."""

    async def ls(self) -> list[str]:
        """Container ids that have a directory or a mount here, wanted or not."""
        ...

    def pack(self, container_id: str) -> "Chunks":
        """The tar of the mounted root; what is mounted inside it is left out."""
        ...

    def pack_layer(self, container_id: str, *, left_out: Collection[str]) -> "Chunks":
        """The writable layer as a layer's tar, without these absolute paths."""
        ...

    async def changes(
        self, container_id: str, layers: Sequence[Path], *, left_out: Collection[str]
    ) -> "list[Change]":
        """What differs from the image, in order of paths; none of these absolute paths."""
        ...

    def room(self, container_id: str) -> Room | None:
        """How full a writable layer of a size is; None if it has none, or is not mounted."""
        ...

    async def used_bytes(self, container_id: str) -> int:
        """What the writable layer takes on disk; its tree is walked."""
        ...


class SharedMemory(Protocol):
    """The ``/dev/shm`` of containers that others may join, mounted in the agent's namespace."""

    def path(self, container_id: str) -> Path:
        """Where it is while the container runs."""
        ...

    async def open(self, container_id: str, *, size_bytes: int) -> Path:
        """Mount it, return its path. Idempotent."""
        ...

    async def close(self, container_id: str) -> None:
        """Unmount it; who has it goes on having it. Idempotent."""

    async def ls(self) -> list[str]:
        """Container ids that have one here, wanted or not."""
        ...


class MappedMounts(Protocol):
    """What a container of a user namespace has of the host, where its ids can reach it."""

    async def open(
        self, container_id: str, ids: IdRange, root: Path, sources: Sequence[Path]
    ) -> list[Path]:
        """Mount the root as it is and the sources with their owners mapped; the root's is first.

        Raises:
            Refused: a file system cannot map owners; the error has its path.
        """
        ...

    async def close(self, container_id: str) -> None:
        """Unmount all of it. Idempotent."""

    async def ls(self) -> list[str]:
        """Container ids that have something here, wanted or not."""
        ...
