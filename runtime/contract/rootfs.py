"""What a container's root filesystem offers, as a Protocol; callers see no concrete class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class RootFilesystems(Protocol):
    """Writable overlayfs roots under ``ROOT/containers/<id>``, mounted in the agent's namespace."""

    async def mount(self, container_id: str, layers: Sequence[Path], *, image_id: str) -> Path:
        """Make upper and work directories if new, mount, return the merged path. Idempotent."""
        ...

    async def unmount(self, container_id: str) -> None:
        """Unmount if mounted; data stays."""

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the writable layer. Idempotent."""

    async def ls(self) -> list[str]:
        """Container ids that have a directory or a mount here, wanted or not."""
        ...
