"""What a container of a user namespace of its own has of the host, with its owners mapped.

All of it is mounted below ``RUN/userns/ID``, the one way that the ids of the namespace may go: what
holds it on the host (volumes, root filesystems) stays closed to everybody but root.
Source: mount_setattr(2) (idmapped mounts, Linux 5.12; below overlayfs, Linux 5.19).
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from runtime import errors, mounting
from runtime.container.oci import open_user_namespace
from runtime.contract.rootfs import IdRange

ROOT: Final = "root"


class IdMounts:
    """`MappedMounts` of the contract; what there is is read from disk and mountinfo each time."""

    def __init__(self, run: Path) -> None:
        self._base = run.resolve() / "userns"

    async def open(
        self, container_id: str, ids: IdRange, root: Path, sources: Sequence[Path]
    ) -> list[Path]:
        """Mount the root as it is and the sources mapped; where they are, the root first."""
        home = self._base / container_id
        namespace = await open_user_namespace(ids.first, ids.count)
        try:
            return await trio.to_thread.run_sync(_open, home, ids, root, sources, namespace)
        finally:
            os.close(namespace)

    async def close(self, container_id: str) -> None:
        """Unmount all of it. Idempotent."""
        home = self._base / container_id
        if home.is_dir():
            await trio.to_thread.run_sync(_close, home)

    async def ls(self) -> list[str]:
        """Container ids that have something here, wanted or not."""
        await trio.lowlevel.checkpoint()
        return sorted(path.name for path in self._base.iterdir()) if self._base.is_dir() else []


def _open(
    home: Path, ids: IdRange, root: Path, sources: Sequence[Path], namespace: int
) -> list[Path]:
    _close(home)  # of a start that was cut off
    home.mkdir(mode=0o710)
    os.chown(home, 0, ids.first)
    home.chmod(0o710)  # whatever the umask
    places = [home / ROOT]
    places[0].mkdir()
    mounting.attach_tree(mounting.clone_tree(root), places[0])
    for n, source in enumerate(sources):
        places.append(home / str(n))
        map_tree(source, places[-1], namespace)
    return places


def map_tree(source: Path, target: Path, namespace: int, *, read_only: bool = False) -> None:
    """Make ``target`` and mount ``source`` there, its owners mapped by the user namespace.

    Raises:
        Refused: its file system cannot.
    """
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    try:
        tree = mounting.clone_tree(source, namespace=namespace, read_only=read_only)
    except OSError as exc:
        if exc.errno not in {errno.EINVAL, errno.EPERM, errno.ENOSYS}:
            raise
        raise errors.Refused(
            "map the owners of files: this kernel or their file system cannot; leave out userns"
            " auto, or keep the files elsewhere",
            path=source,
            error=exc.strerror,
        ) from exc
    mounting.attach_tree(tree, target)


def _close(home: Path) -> None:
    points = [path for path in mounting.mount_points() if path.parent == home]
    for path in reversed(points):
        mounting.unmount(path, mounting.MNT_DETACH)
    if home.is_dir():  # never a whole tree: what should still be mounted is not ours to delete
        for path in home.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(FileNotFoundError):
            home.rmdir()
