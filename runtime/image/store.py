"""The image store of one host: an OCI image layout, an index in memory, and what changes them."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from runtime import errors
from runtime.contract.image import Commit, Image, Login, Progress, RemovedImage
from runtime.image.assemble import build_entry, manifest_for, one_layer_image, read_entry
from runtime.image.auth import Credentials
from runtime.image.catalog import Catalog, Entry, Names, names_of, plan_removal
from runtime.image.child import child_config, gzipped
from runtime.image.depot import Depot, Hold, LayerInfo, layer_key
from runtime.image.ingest import Wanted, on_loop
from runtime.image.load import load
from runtime.image.manifest import Descriptor, parse_layout_index
from runtime.image.mirrors import ask_nearest
from runtime.image.parcel import Parcel, make_parcel
from runtime.image.platform import host_platform, parse_platform
from runtime.image.pull import Gatherer, pull
from runtime.image.push import Pusher
from runtime.image.reference import Reference, parse_reference
from runtime.image.registry import RegistryOptions, check_login, open_registry
from runtime.image.save import Saved, write_archive
from runtime.image.threaded import written
from runtime.image.untar import Limits
from runtime.imageconfig import ImageConfig

log = logging.getLogger(__name__)
MOUNTS_MAX: Final = 4  # repositories that are asked for a layer before it is sent
LAYOUT: Final = b'{"imageLayoutVersion": "1.0.0"}'


class ImageStore:
    """Images under ``ROOT/images``. Look-ups are from memory; changes are durable on return.

    Args:
        root: the agent's root directory.
        limits: what one layer may ask of this host.
        registry: how registries are asked.
    """

    def __init__(
        self, root: Path, *, limits: Limits | None = None, registry: RegistryOptions | None = None
    ) -> None:
        self._root = root.resolve() / "images"
        self._catalog = Catalog()
        self._used: set[str] = set()
        self._damaged: tuple[Descriptor, ...] = ()
        self._limits = limits or Limits()
        self._depot = Depot(self._root, self._limits, lambda key: key in self._used)
        self._index_lock = trio.Lock()
        self._host = host_platform()
        self._registry = registry or RegistryOptions()

    async def open(self) -> None:
        """Read the store and remove what an earlier, killed process left half-made."""
        await self._depot.open()
        rows = parse_layout_index(await self._depot.run("read index", self._read_index)).manifests
        catalog = Catalog()
        for digest, names in names_of(rows).items():
            entry = await self._known(digest, names)
            catalog = catalog.with_image(entry) if entry else catalog
        whole = {entry.image.manifest_digest for entry in catalog.entries.values()}
        self._damaged = tuple(row for row in rows if row.digest not in whole)
        self._set(catalog)
        await self._depot.run("write layout", self._write_layout)
        if not self._damaged:  # else something it needs, maybe under a container, would go
            await self._depot.sweep()

    async def pull(
        self,
        ref: str,
        *,
        platform: str,
        progress: Callable[[Progress], None],
        login: Login | None = None,
    ) -> Image:
        """Fetch ``ref`` (tag or digest) from its registry; ``platform`` "" is this host's."""
        name = parse_reference(ref)
        want = parse_platform(platform, self._host)
        options = self._as(name.domain, login)
        async with self._depot.hold() as hold:
            into = Gatherer(depot=self._depot, hold=hold, report=progress)
            entry = await ask_nearest(
                name,
                options,
                lambda registry: pull(registry, name, want, exact=bool(platform), into=into),
            )
            (image,) = await self._adopt([entry])
            return image

    async def push(
        self, ref: str, *, progress: Callable[[Progress], None], login: Login | None = None
    ) -> str:
        """Bring the image called ``ref`` to the registry of its name; the manifest's digest."""
        name, image = _taggable(ref), self._catalog.find(ref)
        known = [parse_reference(each) for each in (*image.repo_tags, *image.repo_digests)]
        same = [each.path for each in known if each.domain == name.domain]
        sources = [path for path in dict.fromkeys(same) if path != name.path][:MOUNTS_MAX]
        options = self._as(name.domain, login)
        opened = open_registry(name, options, actions="pull,push", sources=sources)
        async with self._depot.hold() as hold, opened as registry:
            parcel = await self._parcel(image, hold)
            pusher = Pusher(registry=registry, sources=sources, report=progress)
            return await pusher.push(parcel, name.tag)

    async def tags(self, ref: str, *, login: Login | None = None) -> list[str]:
        """All tags that a registry has of a repository."""
        name = parse_reference(ref)
        return await ask_nearest(name, self._as(name.domain, login), lambda one: one.tags())

    @asynccontextmanager
    async def save(self, names: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """An archive of the images; a name that is no id or digest is in it."""
        async with self._depot.hold() as hold:
            images = [await self._saved(group, hold) for group in self._by_image(names)]
            work = partial(write_archive, images)
            async with written("save images", work, self._depot.unpackers) as chunks:
                yield chunks

    def _by_image(self, names: Sequence[str]) -> list[tuple[Image, tuple[str, ...]]]:
        """Each image once, with the names by which it was asked for."""
        found: dict[str, tuple[Image, tuple[str, ...]]] = {}
        for name in names:
            image = self._catalog.find(name)
            _, tags = found.get(image.id, (image, ()))
            found[image.id] = image, (*tags, *self._tags_of(image, name))
        return list(found.values())

    def _tags_of(self, image: Image, name: str) -> list[str]:
        with suppress(errors.Invalid):
            if (tag := parse_reference(name).repo_tag) in image.repo_tags:
                return [tag]
        return []

    async def _saved(self, group: tuple[Image, tuple[str, ...]], hold: Hold) -> Saved:
        image, tags = group
        return Saved(parcel=await self._parcel(image, hold), tags=tags)

    async def _parcel(self, image: Image, hold: Hold) -> Parcel:
        """All parts of an image, held."""
        for key in (image.id, image.manifest_digest, *map(layer_key, image.diff_ids)):
            hold.keep(key)
        parcel = await make_parcel(image, self._depot)
        for blob in parcel.layers:
            hold.keep(blob.digest)
        return parcel

    async def login(self, domain: str, login: Login) -> None:
        """Ask a registry whether a name and password are good."""
        await check_login(domain, self._as(domain, login))

    def _as(self, domain: str, login: Login | None) -> RegistryOptions:
        """How to ask a registry as somebody."""
        if login is None:
            return self._registry
        who = Credentials(user=login.user, password=login.password)
        return replace(self._registry, credentials={**self._registry.credentials, domain: who})

    async def load(
        self, chunks: AsyncIterator[bytes], *, progress: Callable[[Progress], None]
    ) -> list[Image]:
        """Take a ``docker save`` or OCI archive (tar, maybe gzip or zstd)."""
        async with self._depot.hold() as hold:
            into = Gatherer(depot=self._depot, hold=hold, report=progress)
            entries = await load(source_of(chunks), self._host, self._limits, into)
            return await self._adopt(entries)

    async def import_rootfs(
        self,
        chunks: AsyncIterator[bytes],
        *,
        ref: str,
        config: ImageConfig,
        message: str,
        created: str,
    ) -> Image:
        """Make a one-layer image of a root filesystem tar; ``ref`` may be ""."""
        name = _taggable(ref) if ref else None
        async with self._depot.hold() as hold:
            diff_id, layer = await self._depot.add_layer(on_loop(source_of(chunks)), Wanted(), hold)
            manifest, body = one_layer_image(
                config, diff_id, layer, platform=self._host, created=created, message=message
            )
            await self._depot.add_blob(body, hold)
            await self._depot.add_blob(manifest, hold)
            names = Names(tags=(name.repo_tag,) if name else ())
            entry = build_entry(manifest, body, self._depot, names)
            (image,) = await self._adopt([entry])
            return image

    async def commit(self, parent: Image, chunks: AsyncIterator[bytes], draft: Commit) -> Image:
        """Make an image of another one and the tar of one more layer."""
        name = _taggable(draft.ref) if draft.ref else None
        async with self._depot.hold() as hold:
            for digest in (parent.id, *map(layer_key, parent.diff_ids)):
                hold.keep(digest)
            blob = gzipped(on_loop(source_of(chunks)))
            diff_id, layer = await self._depot.add_layer(blob, Wanted(), hold)
            config = await self._depot.read_blob(parent.id)
            body = child_config(config, draft, diff_id)
            below = [self._layer(each) for each in parent.diff_ids]
            manifest = manifest_for(body, [*below, layer])
            await self._depot.add_blob(body, hold)
            await self._depot.add_blob(manifest, hold)
            names = Names(tags=(name.repo_tag,) if name else ())
            (image,) = await self._adopt([build_entry(manifest, body, self._depot, names)])
            return image

    def _layer(self, diff_id: str) -> LayerInfo:
        info = self._depot.layer(diff_id)
        if info is None:
            raise errors.Missing("read layer", layer=diff_id)
        return info

    def ls(self) -> list[Image]:
        """All images, newest first."""
        return self._catalog.images()

    def get(self, name: str) -> Image:
        """Find by name (``:latest`` implied), digest, id or unique id prefix."""
        return self._catalog.find(name)

    async def tag(self, source: str, target: str) -> None:
        """Add a name to an image; a name that stood elsewhere moves."""
        repo_tag = _taggable(target).repo_tag
        async with self._index_lock:
            image = self._catalog.find(source)
            await self._save(self._catalog.with_tag(image.id, repo_tag))

    async def rm(
        self, name: str, *, force: bool, users: Callable[[str], list[str]]
    ) -> RemovedImage:
        """Untag ``name``; delete the image and its unshared layers when it was the last name."""
        async with self._depot.hold() as hold, self._index_lock:
            plan = plan_removal(self._catalog, name, force=force)
            if not plan.delete:
                await self._save(self._catalog.without_names(plan.image_id, plan.names))
                return RemovedImage(untagged=plan.names, deleted=())
            if busy := users(plan.image_id):
                raise errors.Busy("remove image", id=plan.image_id, containers=",".join(busy))
            before = self._used
            await self._save(self._catalog.without_image(plan.image_id))
            for key in before - self._used:
                hold.keep(key)  # the end of the hold removes them
            return RemovedImage(untagged=plan.names, deleted=(plan.image_id,))

    def used_bytes(self) -> int:
        """Disk use of blobs and unpacked layers."""
        return self._depot.used_bytes()

    def layer_paths(self, image: Image) -> list[Path]:
        """Unpacked layer directories, base first, for overlayfs."""
        return [self._depot.layer_path(diff_id) for diff_id in image.diff_ids]

    async def _adopt(self, entries: list[Entry]) -> list[Image]:
        """Make gathered images part of the store, all at once."""
        await self._depot.sync()
        async with self._index_lock:
            catalog = self._catalog
            for entry in entries:
                catalog = catalog.with_image(entry)
            await self._save(catalog)
        return [self._catalog.entries[entry.image.id].image for entry in entries]

    async def _save(self, catalog: Catalog) -> None:
        """Commit a catalog: on disk first, then for everybody; the caller has the lock."""
        index = catalog.index()
        known = {row.digest for row in index.manifests}
        aside = [row for row in self._damaged if row.digest not in known]
        body = msgspec.json.encode(
            msgspec.structs.replace(index, manifests=[*index.manifests, *aside])
        )
        await self._depot.run("write index", lambda: self._write_index(body))
        self._set(catalog)

    def _set(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._used = catalog.uses()

    async def _known(self, digest: str, names: Names) -> Entry | None:
        """An image of index.json, None if it cannot be read.

        Only whole images get into index.json, so this is damage, not the remains of a kill: its
        row and all content stay for whoever mends it.
        """
        try:
            return await read_entry(self._depot, digest, names)
        except errors.RunError as exc:
            log.error("image damaged, set aside", extra={"digest": digest, "error": str(exc)})
            return None

    def _read_index(self) -> bytes:
        try:
            return (self._root / "index.json").read_bytes()
        except FileNotFoundError:
            return b'{"schemaVersion":2,"manifests":[]}'

    def _write_layout(self) -> None:
        path = self._root / "oci-layout"
        for each in (path, self._root / "index.json"):
            draft_of(each).unlink(missing_ok=True)  # of a write that was cut off
        if not path.exists():
            replace_file(path, LAYOUT)

    def _write_index(self, body: bytes) -> None:
        replace_file(self._root / "index.json", body)


def source_of(chunks: AsyncIterator[bytes]) -> Callable[[], Awaitable[bytes]]:
    """An iterator as a stream that says b"" only at its end."""

    async def step() -> bytes:
        with suppress(StopAsyncIteration):
            while True:
                if chunk := await anext(chunks):
                    return chunk
        return b""

    return step


def draft_of(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.new")


def replace_file(path: Path, body: bytes) -> None:
    """Write a small file so that after a crash it is the old or the new one. Blocking."""
    draft = draft_of(path)
    with draft.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _taggable(text: str) -> Reference:
    ref = parse_reference(text)
    if ref.digest:
        raise errors.Invalid("tag image", name=text, why="a tag, not a digest, names an image")
    return ref
