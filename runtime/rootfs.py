"""Writable root filesystems: one overlayfs mount per container."""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeVar

import trio

from runtime import errors, mounting
from runtime.container.oci import open_user_namespace
from runtime.contract.files import Change, Chunks
from runtime.contract.rootfs import IdRange, Room
from runtime.files.changes import find_changes
from runtime.files.pack import Packer
from runtime.idmounts import map_tree
from runtime.image.threaded import written
from runtime.image.tree import OPEN_DIR
from runtime.layerdisk import DRAFT, GROWING, IMAGE, PLACE, make_disk, upper_home

T = TypeVar("T")
PARTS: Final = ("upper", "work", "merged")
LAYERS: Final = "layers"  # while a mapped root is being mounted
IDS: Final = "ids"  # first and count of the host's ids that a mapped root has
EMPTY: Final = "empty"  # stands below for an image without layers: overlayfs wants one
PACKERS: Final = 8  # each waits for whoever reads what it packs
THREADS: Final = 4  # mounts take 0.1 ms; a hung disk must not take trio's other threads


class OverlayRoots:
    """Overlay roots under ``ROOT/containers/<id>``: ``upper``, ``work``, ``merged`` and ``image``.

    What is there is read from the disk and from mountinfo each time: nothing can be out of date
    after a crash.
    """

    def __init__(self, root: Path) -> None:
        self._base = root.resolve() / "containers"
        self._threads = trio.CapacityLimiter(THREADS)
        self._packers = trio.CapacityLimiter(PACKERS)

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

        Raises:
            Conflict: the writable layer was made over another image.
            Missing: a layer is gone. Exhausted: disk full. Refused: the kernel said no.
        """
        home = self._home(container_id)
        if size_bytes:
            await self._run("make root", home, lambda: _make_home(home))
            await make_disk(home, size_bytes)
        if ids is None:
            return await self._run("mount root", home, lambda: _mount(home, layers, image_id))
        namespace = await open_user_namespace(ids.first, ids.count)
        try:
            return await self._run(
                "mount root", home, lambda: _mount_mapped(home, layers, image_id, ids, namespace)
            )
        finally:
            os.close(namespace)

    async def unmount(self, container_id: str) -> None:
        """Unmount if mounted; data stays."""
        home = self._home(container_id)
        await self._run("unmount root", home, lambda: _unmount_all(home))

    async def remove(self, container_id: str) -> None:
        """Unmount and delete the writable layer. Idempotent."""
        home = self._home(container_id)
        await self._run("remove root", home, lambda: _remove(home))

    def pack(self, container_id: str) -> Chunks:
        """The tar of the mounted root; what is mounted inside it is left out."""
        home = self._home(container_id)
        return written(
            "read root",
            lambda write: _pack(home / "merged", write, frozenset(), ids=_read_ids(home)),
            self._packers,
        )

    def pack_layer(self, container_id: str, *, left_out: Collection[str]) -> Chunks:
        """The writable layer as a layer's tar, without these absolute paths."""
        home = self._home(container_id)
        names = frozenset(each.lstrip("/") for each in left_out)
        return written(
            "read writable layer",
            lambda write: _pack(
                upper_home(home) / "upper", write, names, as_layer=True, ids=_read_ids(home)
            ),
            self._packers,
        )

    async def changes(
        self, container_id: str, layers: Sequence[Path], *, left_out: Collection[str]
    ) -> list[Change]:
        """What differs from the image, in order of paths; none of these absolute paths."""
        home = self._home(container_id)

        def find() -> list[Change]:
            upper = upper_home(home) / "upper"
            return list(find_changes(upper, layers, left_out=left_out, ids=_read_ids(home)))

        return await self._run("compare root", home, find)

    def room(self, container_id: str) -> Room | None:
        """How full a writable layer of a size is; None if it has none, or is not mounted."""
        home = self._home(container_id)
        try:
            if (home / PLACE).stat().st_dev == home.stat().st_dev:
                return None
            found = os.statvfs(home / PLACE)
        except FileNotFoundError:
            return None
        size = found.f_blocks * found.f_frsize
        return Room(used_bytes=size - found.f_bavail * found.f_frsize, size_bytes=size)

    async def used_bytes(self, container_id: str) -> int:
        """What the writable layer takes on disk; its tree is walked."""
        home = self._home(container_id)
        return await self._run(
            "measure root", home, lambda: _used_bytes(upper_home(home) / "upper")
        )

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
    _make_home(home)
    _claim(home, image_id)
    top = upper_home(home)
    upper, work, merged = top / "upper", top / "work", home / "merged"
    for path in (upper, work, merged):
        path.mkdir(mode=0o755, exist_ok=True)
    if merged not in mounting.mount_points():
        _copy_root_attributes(layers, upper)
        mounting.mount_overlay(merged, list(reversed(layers)) or [_empty(home)], upper, work)
    return merged


def _mount_mapped(
    home: Path, layers: Sequence[Path], image_id: str, ids: IdRange, namespace: int
) -> Path:
    """Mount it over layers whose owners are mapped; in the upper directory they are as mapped."""
    merged, mapped = home / "merged", home / LAYERS
    if merged in mounting.mount_points():
        return merged
    _make_home(home)
    (home / IDS).write_text(f"{ids.first} {ids.count}", encoding="ascii")
    lowers = layers or [_empty(home)]
    common = Path(os.path.commonpath([path.parent for path in lowers]))
    _unmount(mapped)  # of a mount that was cut off
    map_tree(common, mapped, namespace, read_only=True)
    try:
        # the overlay keeps its own clones of them
        return _mount(home, [mapped / path.relative_to(common) for path in lowers], image_id)
    finally:
        _unmount(mapped)
        mapped.rmdir()


def _read_ids(home: Path) -> IdRange | None:
    """Whose files they are; None: the host's."""
    try:
        first, count = (home / IDS).read_text("ascii").split()
    except FileNotFoundError:
        return None
    return IdRange(first=int(first), count=int(count))


def _make_home(home: Path) -> None:
    # Closed to others: a setuid program of an image must not be one of the host's.
    for folder in (home.parent, home):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


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


def _unmount_all(home: Path) -> None:
    for name in ("merged", LAYERS, PLACE):
        _unmount(home / name)


def _remove(home: Path) -> None:
    _unmount_all(home)
    for part in (*PARTS, EMPTY, PLACE):
        if (home / part).exists():
            shutil.rmtree(home / part)
    if (home / LAYERS).exists():
        (home / LAYERS).rmdir()  # never as a tree: it is for mounts of what others have, too
    for name in (DRAFT, GROWING, IMAGE, IDS):
        (home / name).unlink(missing_ok=True)
    for mark in ("image.new", "image"):  # last: so a half-removed root still bears its mark
        (home / mark).unlink(missing_ok=True)
    try:
        home.rmdir()
    except OSError as exc:
        # Somebody keeps other files of this container here: theirs to delete.
        if exc.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
            raise


def _pack(
    path: Path,
    write: Callable[[bytes], None],
    left_out: Collection[str],
    *,
    ids: IdRange | None,
    as_layer: bool = False,
) -> None:
    packer = Packer(write=write, as_layer=as_layer, left_out=left_out, ids=ids)
    fd = os.open(path, OPEN_DIR)
    try:
        packer.folder(fd)
    finally:
        os.close(fd)
    packer.finish()


def _used_bytes(upper: Path) -> int:
    """Blocks of all files, each once however many names it has."""
    seen: dict[tuple[int, int], int] = {}
    for folder, folders, files in os.walk(upper, onerror=_raise_unless_gone):
        for name in (*folders, *files):
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118  one per file
            except FileNotFoundError:
                continue  # the container goes on meanwhile
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def _raise_unless_gone(exc: OSError) -> None:
    if not isinstance(exc, FileNotFoundError):
        raise exc


def _ls(base: Path) -> list[str]:
    made = {path.name for path in base.iterdir() if _is_ours(path)} if base.is_dir() else set()
    mounts = [path for path in mounting.mount_points() if path.parent.parent == base]
    mounted = {path.parent.name for path in mounts if path.name in {"merged", LAYERS, PLACE}}
    return sorted(made | mounted)


def _is_ours(home: Path) -> bool:
    """Whether it holds a part of a root, or nothing yet; logs alone may outlive their root."""
    found = {path.name for path in home.iterdir()} if home.is_dir() else {""}
    return not found or not found.isdisjoint(
        (*PARTS, EMPTY, LAYERS, IDS, PLACE, DRAFT, GROWING, IMAGE, "image", "image.new")
    )
