"""Shared memory that more than one container has: a tmpfs of the agent's, bound into each."""

from pathlib import Path

import trio

from runtime import mounting


class TmpfsMemory:
    """One tmpfs below ``RUN/shm`` for each container that shares; read from mountinfo each time."""

    def __init__(self, run: Path) -> None:
        self._base = run.resolve() / "shm"

    def path(self, container_id: str) -> Path:
        """Where it is while the container runs."""
        return self._base / container_id

    async def open(self, container_id: str, *, size_bytes: int) -> Path:
        """Mount it, return its path. Idempotent."""
        path = self.path(container_id)
        await trio.to_thread.run_sync(_open, path, size_bytes)
        return path

    async def close(self, container_id: str) -> None:
        """Unmount it; who has it goes on having it. Idempotent."""
        path = self.path(container_id)
        if path.is_dir():
            await trio.to_thread.run_sync(_close, path)

    async def ls(self) -> list[str]:
        """Container ids that have one here, wanted or not."""
        await trio.lowlevel.checkpoint()
        return sorted(path.name for path in self._base.iterdir()) if self._base.is_dir() else []


def _open(path: Path, size_bytes: int) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path not in mounting.mount_points():
        mounting.mount_tmpfs(path, f"mode=1777,size={size_bytes}")


def _close(path: Path) -> None:
    while path in mounting.mount_points():
        mounting.unmount(path, mounting.MNT_DETACH)
    path.rmdir()
