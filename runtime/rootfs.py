"""Writable root filesystems: one overlayfs mount per container."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import trio

from runtime import errors, mounting

T = TypeVar("T")
PARTS: Final = ("upper", "work", "merged")
EMPTY: Final = "empty"  # stands below for an image without layers: overlayfs wants one
THREADS: Final = 4  # mounts take 0.1 ms; a hung disk must not take trio's other threads


class OverlayRoots:
    """Overlay roots under ``ROOT/containers/<id>``: ``upper``, ``work``, ``merged`` and ``image``.

    What is there is read from the disk and from mountinfo each time: nothing can be out of date
    after a crash.
    """

    def __init__(self, root: Path) -> None:
        self._base = root.resolve() / "containers"
        self._threads = trio.CapacityLimiter(THREADS)

    async def mount(self, container_id: str, layers: Sequence[Path], *, image_id: str) -> Path:
        """Make upper and work directories if new, mount, return the merged path. Idempotent.

        Raises:
            Conflict: the writable layer was made over another image.
            Missing: a layer is gone. Exhausted: disk full. Refused: the kernel said no.
        """
        home = self._home(container_id)
        return await self._run("mount root", home, lambda: _mount(home, layers, image_id))

    async def unmount(self, container_id: str) -> None:
        """Unmount if mounted; data stays."""
        home = self._home(container_id)
        await self._run("unmount root", home, lambda: _unmount(home / "merged"))

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the writable layer. Idempotent."""
        home = self._home(container_id)
        await self._run("remove root", home, lambda: _remove(home))

    async def ls(self) -> list[str]:
        """Container ids that have a directory or a mount here, wanted or not."""
        return await self._run("list roots", self._base, lambda: _ls(self._base))

    def _home(self, container_id: str) -> Path:
        if not container_id or container_id.startswith(".") or "/" in container_id:
            raise errors.Invalid("use container id as a directory", id=container_id)
        return self._base / container_id

    async def _run(self, doing: str, path: Path, step: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(step, limiter=self._threads)
        except OSError as exc:
            raise _translated(doing, path, exc) from exc


def _translated(doing: str, path: Path, exc: OSError) -> errors.RunError:
    kinds = {
        errno.ENOSPC: errors.Exhausted,
        errno.EDQUOT: errors.Exhausted,
        errno.ENOENT: errors.Missing,
        errno.EBUSY: errors.Busy,
    }
    kind = kinds.get(exc.errno or 0, errors.Refused)
    return kind(doing, path=str(path), error=exc.strerror)


def _mount(home: Path, layers: Sequence[Path], image_id: str) -> Path:
    # Closed to others: a setuid program of an image must not be one of the host's.
    for folder in (home.parent, home):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _claim(home, image_id)
    upper, work, merged = (home / part for part in PARTS)
    for path in (upper, work, merged):
        path.mkdir(mode=0o755, exist_ok=True)
    if merged not in mounting.mount_points():
        _copy_root_attributes(layers, upper)
        mounting.mount_overlay(merged, list(reversed(layers)) or [_empty(home)], upper, work)
    return merged


def _empty(home: Path) -> Path:
    path = home / EMPTY
    path.mkdir(mode=0o755, exist_ok=True)
    return path


def _claim(home: Path, image_id: str) -> None:
    """Bind the writable layer to its image: over another one it would be nonsense."""
    mark = home / "image"
    try:
        owner = mark.read_text("utf-8")
    except FileNotFoundError:
        owner = ""
    if owner and owner != image_id:
        raise errors.Conflict("mount root", path=str(home), made_for=owner, asked_for=image_id)
    if not owner:
        draft = home / "image.new"
        draft.write_text(image_id, "utf-8")
        draft.rename(mark)


def _copy_root_attributes(layers: Sequence[Path], upper: Path) -> None:
    """Give ``/`` the mode and owner of the topmost layer: overlayfs shows those of upper."""
    if not layers or any(upper.iterdir()):
        return
    top = layers[-1].stat()
    os.chown(upper, top.st_uid, top.st_gid)
    upper.chmod(top.st_mode & 0o7777)


def _unmount(merged: Path) -> None:
    """Unmount all that is stacked there; detach lazily only if it is busy."""
    while merged in mounting.mount_points():
        try:
            mounting.unmount(merged)
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                raise
            mounting.unmount(merged, mounting.MNT_DETACH)


def _remove(home: Path) -> None:
    _unmount(home / "merged")
    for part in (*PARTS, EMPTY):
        if (home / part).exists():
            shutil.rmtree(home / part)
    for mark in ("image.new", "image"):  # last: so a half-removed root still bears its mark
        (home / mark).unlink(missing_ok=True)
    try:
        home.rmdir()
    except OSError as exc:
        # Somebody keeps other files of this container here: theirs to delete.
        if exc.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
            raise


def _ls(base: Path) -> list[str]:
    made = {path.name for path in base.iterdir() if _is_ours(path)} if base.is_dir() else set()
    mounts = mounting.mount_points()
    mounted = {p.parent.name for p in mounts if p.name == "merged" and p.parent.parent == base}
    return sorted(made | mounted)


def _is_ours(home: Path) -> bool:
    """Whether it holds a part of a root, or nothing yet; logs alone may outlive their root."""
    found = {path.name for path in home.iterdir()} if home.is_dir() else {""}
    return not found or not found.isdisjoint((*PARTS, EMPTY, "image", "image.new"))
