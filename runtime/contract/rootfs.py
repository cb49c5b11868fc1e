"""What root filesystems and shared memory offer, as Protocols; callers see no concrete class."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from runtime.contract.files import Change, Chunks


class RootFilesystems(Protocol):
    """Writable overlayfs roots under ``ROOT/containers/<id>``, mounted in the agent's namespace."""

    async def mount(
        self, container_id: str, layers: Sequence[Path], *, image_id: str, size_bytes: int = 0
    ) -> Path:
        """Make upper and work directories if new, mount, return the merged path. Idempotent.

        Args:
            size_bytes: what the writable layer can hold; 0 = as much as the disk.
        """
        ...

    async def unmount(self, container_id: str) -> None:
        """Unmount if mounted; data stays."""

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the writable layer. Idempotent."""

    async def ls(self) -> list[str]:
        """Container ids that have a directory or a mount here, wanted or not."""
        ...

    def pack(self, container_id: str) -> Chunks:
        """The tar of the mounted root; what is mounted inside it is left out."""
        ...

    def pack_layer(self, container_id: str, *, left_out: Collection[str]) -> Chunks:
        """The writable layer as a layer's tar, without these absolute paths."""
        ...

    async def changes(
        self, container_id: str, layers: Sequence[Path], *, left_out: Collection[str]
    ) -> list[Change]:
        """What differs from the image, in order of paths; none of these absolute paths."""
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
