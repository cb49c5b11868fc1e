"""Blobs and unpacked layers on disk: made whole or not at all, shared, removed when unneeded.

``blobs/sha256/<hex>`` are the OCI layout's. ``layers/<hex of diff id>`` holds ``fs``, the unpacked
layer, and ``layer.json``. All is made in ``tmp`` and renamed; what is there is known in memory.
"""

import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import msgspec
import trio

from runtime import errors, mounting
from runtime.image.ingest import Ingested, Wanted, failure_of, ingest
from runtime.image.manifest import digest_of
from runtime.image.reference import is_digest
from runtime.image.untar import Limits

T = TypeVar("T")
UNPACKERS: Final = 16  # over all pulls; a thread waits while its registry is slow
DISK_THREADS: Final = 4
SWEEP_S: Final = 30.0  # guess: removing one large layer takes seconds on a slow disk


class LayerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What we keep beside an unpacked layer."""

    size_bytes: int
    disk_bytes: int
    digest: str
    blob_bytes: int
    media_type: str


class Depot:
    """The content of one store. Use ``hold`` around everything that adds to it."""

    def __init__(self, root: Path, limits: Limits, is_used: Callable[[str], bool]) -> None:
        self._root = root
        self._limits = limits
        self._is_used = is_used
        self._blobs: dict[str, int] = {}
        self._layers: dict[str, LayerInfo] = {}
        self._held: Counter[str] = Counter()
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()
        self.unpackers = trio.CapacityLimiter(UNPACKERS)
        self._threads = trio.CapacityLimiter(DISK_THREADS)
        self._serial = 0

    async def open(self) -> None:
        """Make the directories, drop temporaries, and learn what is there."""
        self._blobs, self._layers = await self.run("open image store", self._scan)

    async def sweep(self) -> None:
        """Remove all that no image uses and nobody holds."""
        await self._remove_unused([*map(layer_key, self._layers), *self._blobs])

    def layer(self, diff_id: str) -> LayerInfo | None:
        """What is known of an unpacked layer, None if it is not here."""
        return self._layers.get(diff_id)

    def layer_path(self, diff_id: str) -> Path:
        return self._root / "layers" / _hex(diff_id) / "fs"

    def blob_path(self, digest: str) -> Path:
        return self._root / "blobs" / "sha256" / _hex(digest)

    def blob_size(self, digest: str) -> int | None:
        """The size of a blob, None if it is not here."""
        return self._blobs.get(digest)

    def used_bytes(self) -> int:
        return sum(self._blobs.values()) + sum(one.disk_bytes for one in self._layers.values())

    @asynccontextmanager
    async def hold(self) -> AsyncIterator["Hold"]:
        """Keep content while it is being gathered; at the end what no image uses is removed.

        Cancel: the removal is done all the same.
        """
        hold = Hold(self._held)
        try:
            yield hold
        finally:
            keys = hold.release()
            with trio.move_on_after(SWEEP_S, shield=True):
                await self._remove_unused(keys)

    async def add_blob(self, data: bytes, hold: "Hold") -> str:
        """Store a small blob and return its digest."""
        digest = digest_of(data)
        hold.keep(digest)
        async with self._lock(digest):
            if digest not in self._blobs:
                await self.run("write blob", lambda: self._write_blob(digest, data))
                self._blobs[digest] = len(data)
        return digest

    async def read_blob(self, digest: str) -> bytes:
        return await self.run("read blob", self.blob_path(digest).read_bytes)

    @asynccontextmanager
    async def making(self, diff_id: str, hold: "Hold") -> AsyncIterator[LayerInfo | None]:
        """Own the making of one layer; yields it if it is there already.

        A second pull of the same layer waits here, and makes it itself if the first one failed.
        """
        hold.keep(layer_key(diff_id))
        async with self._lock(layer_key(diff_id)):
            info = self._layers.get(diff_id)
            if info is not None:
                hold.keep(info.digest)
            yield info

    async def add_layer(
        self, chunks: Iterator[bytes], wanted: Wanted, hold: "Hold"
    ) -> tuple[str, LayerInfo]:
        """Unpack a layer from a stream and commit it with its blob; returns its diff id.

        Within ``making`` when the diff id is known before.

        Raises:
            Refused: a hash, a size or the tar is wrong. Exhausted: disk full.
        Cancel: nothing stays.
        """
        draft = self._draft()

        def work() -> Ingested:
            return ingest(chunks, draft, wanted, self._limits)

        try:
            made = await self.run("unpack layer", work, limiter=self.unpackers)
            if wanted.diff_id:
                return made.diff_id, await self._commit(draft, made, hold)
            async with self.making(made.diff_id, hold) as known:
                return made.diff_id, known or await self._commit(draft, made, hold)
        finally:
            with trio.move_on_after(SWEEP_S, shield=True):
                await self.run("remove draft", lambda: _remove(draft))

    @asynccontextmanager
    async def spool(self) -> AsyncIterator[Path]:
        """A temporary directory in the store's own file system."""
        path = self._draft()
        await self.run("make spool", path.mkdir)
        try:
            yield path
        finally:
            with trio.move_on_after(SWEEP_S, shield=True):
                await self.run("remove spool", lambda: _remove(path))

    async def sync(self) -> None:
        """Have all that was added on disk, before an index names it."""
        await self.run("sync", lambda: mounting.sync_filesystem(self._root))

    async def run(
        self, doing: str, step: Callable[[], T], *, limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """Run blocking disk work in a thread of ours; the disk's errors become the package's."""
        try:
            return await trio.to_thread.run_sync(step, limiter=limiter or self._threads)
        except OSError as exc:
            raise failure_of(doing, exc) from exc

    async def _commit(self, draft: Path, made: Ingested, hold: "Hold") -> LayerInfo:
        info = LayerInfo(
            size_bytes=made.unpacked.size_bytes,
            disk_bytes=made.unpacked.disk_bytes,
            digest=made.digest,
            blob_bytes=made.blob_bytes,
            media_type=made.media_type,
        )
        hold.keep(made.digest)
        async with self._lock(made.digest):
            await self.run("commit layer", lambda: self._rename(draft, made, info))
            self._blobs[made.digest] = made.blob_bytes
            self._layers[made.diff_id] = info
        return info

    def _rename(self, draft: Path, made: Ingested, info: LayerInfo) -> None:
        (draft / "layer" / "layer.json").write_bytes(msgspec.json.encode(info))
        (draft / "blob").rename(self.blob_path(made.digest))
        (draft / "layer").rename(self.layer_path(made.diff_id).parent)

    def _write_blob(self, digest: str, data: bytes) -> None:
        draft = self._draft()
        try:
            draft.write_bytes(data)
            draft.rename(self.blob_path(digest))
        finally:
            draft.unlink(missing_ok=True)

    async def _remove_unused(self, keys: Iterable[str]) -> None:
        """Remove what is not needed; forget it first, so that nobody finds what is half gone."""
        left = list(keys)
        while left:
            key = left.pop(0)
            diff_id = key.removeprefix("layer:")
            async with self._lock(key):
                if self._is_needed(key):
                    continue
                if diff_id == key and self._blobs.pop(key, None) is not None:
                    await self._unlink_blob(key)
                elif diff_id != key and (info := self._layers.pop(diff_id, None)) is not None:
                    await self.run("remove layer", partial(self._discard_layer, diff_id))
                    left.append(info.digest)

    def _is_needed(self, key: str) -> bool:
        """Held, used by an image, or the blob that a kept layer was made of.

        The last is not always one that an image names: two images may have the same layer in
        different compressions, and it is fetched once.
        """
        if self._held[key] or self._is_used(key):
            return True
        return any(info.digest == key for info in self._layers.values())

    async def _unlink_blob(self, digest: str) -> None:
        await self.run("remove blob", lambda: self.blob_path(digest).unlink(missing_ok=True))

    def _discard_layer(self, diff_id: str) -> None:
        draft = self._draft()
        self.layer_path(diff_id).parent.rename(draft)
        _remove(draft)

    def _lock(self, key: str) -> trio.Lock:
        return self._locks.setdefault(key, trio.Lock())

    def _draft(self) -> Path:
        """A path in ``tmp`` that no other task or process has: open() emptied it."""
        self._serial += 1
        return self._root / "tmp" / f"{os.getpid()}-{self._serial}"

    def _scan(self) -> tuple[dict[str, int], dict[str, LayerInfo]]:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(self._root / "tmp")
        for name in ("tmp", "layers", "blobs/sha256"):
            (self._root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        blobs = {
            f"sha256:{path.name}": path.stat().st_size
            for path in (self._root / "blobs" / "sha256").iterdir()
            if _kept(path, path.is_file())
        }
        return blobs, self._scan_layers()

    def _scan_layers(self) -> dict[str, LayerInfo]:
        layers = {}
        for path in (self._root / "layers").iterdir():
            if not _kept(path, (path / "layer.json").is_file()):
                continue
            try:
                info = msgspec.json.decode((path / "layer.json").read_bytes(), type=LayerInfo)
            except msgspec.MsgspecError:
                continue  # damage: it was whole when it was renamed to here, and may be mounted
            layers[f"sha256:{path.name}"] = info
        return layers


class Hold:
    """What one operation gathers; nobody removes it meanwhile."""

    def __init__(self, held: Counter[str]) -> None:
        self._held = held
        self._keys: set[str] = set()

    def keep(self, key: str) -> None:
        """Hold a digest, or a layer by its ``layer_key``."""
        if key not in self._keys:
            self._keys.add(key)
            self._held[key] += 1

    def release(self) -> list[str]:
        """Let go of all; returns layers before blobs."""
        keys, self._keys = sorted(self._keys), set()
        for key in keys:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
        return keys


def layer_key(diff_id: str) -> str:
    """What a layer is called where blobs and layers are counted together."""
    return f"layer:{diff_id}"


def _kept(path: Path, whole: bool) -> bool:
    """Remove what is not a thing of ours; says whether it stayed."""
    if whole and is_digest(f"sha256:{path.name}"):
        return True
    _remove(path)
    return False


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise errors.Internal("use digest as a file name", digest=digest[:100])
    return digest.removeprefix("sha256:")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
