"""Images as users see them: pull, load, import, list, tag, remove."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from nodeagent.control.creation import matches_labels
from nodeagent.control.parts import Parts
from nodeagent.control.times import build_ago, build_size, build_time, parse_time
from nodeagent.control.views import healthcheck_view
from nodeagent.errors import Invalid, kind_of
from nodeagent.model.image import (
    HistoryView,
    ImageConfigView,
    ImageRemoved,
    ImageRow,
    ImageView,
    RootFsView,
)
from nodeagent.model.volume import Pruned
from runtime.contract.image import Image, Login, Progress
from runtime.imageconfig import ImageConfig

FILTERS = ("dangling", "label", "reference")
NO_NAME = "<none>"


class Imaging:
    """Use cases of images."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def _tell(self, image: Image, action: str, name: str) -> None:
        self._parts.events.publish("image", action, image.id, name)

    async def pull(
        self,
        ref: str,
        platform: str,
        progress: Callable[[Progress], None],
        login: Login | None = None,
    ) -> ImageView:
        """Fetch an image from its registry."""
        image = await self._parts.images.pull(
            ref, platform=platform, progress=progress, login=login
        )
        self._tell(image, "pull", ref)
        return image_view(image)

    async def push(
        self, ref: str, progress: Callable[[Progress], None], login: Login | None
    ) -> str:
        """Bring an image to the registry of its name; the digest it has there."""
        digest = await self._parts.images.push(ref, progress=progress, login=login)
        self._tell(self._parts.images.get(ref), "push", ref)
        return digest

    async def tags(self, ref: str, login: Login | None) -> list[str]:
        """All tags that a registry has of a repository."""
        return await self._parts.images.tags(ref, login=login)

    async def login(self, server: str, login: Login) -> None:
        """Ask a registry whether a name and password are good."""
        await self._parts.images.login(server, login)

    @asynccontextmanager
    async def save(self, names: list[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """An archive of images."""
        if not names:
            raise Invalid("name the images to save", field="names")
        async with self._parts.images.save(names) as chunks:
            yield chunks
        for name in names:
            self._tell(self._parts.images.get(name), "save", name)

    async def load(
        self, chunks: AsyncIterator[bytes], progress: Callable[[Progress], None]
    ) -> list[str]:
        """Take an archive; the names (or ids) of what it held."""
        images = await self._parts.images.load(chunks, progress=progress)
        for image in images:
            self._tell(image, "load", image.id)
        return [name for image in images for name in (image.repo_tags or (image.id,))]

    async def import_rootfs(
        self, chunks: AsyncIterator[bytes], *, ref: str, config: ImageConfig, message: str
    ) -> ImageView:
        """Make an image of a root filesystem tar."""
        created = build_time(self._parts.now())
        image = await self._parts.images.import_rootfs(
            chunks, ref=ref, config=config, message=message or "Imported", created=created
        )
        self._tell(image, "import", ref or image.id)
        return image_view(image)

    def users(self, image_id: str) -> list[str]:
        """Names of the containers made of the image."""
        return self._parts.inventory.image_users(image_id)

    def ls(self, *, everything: bool, filters: dict[str, list[str]]) -> list[ImageRow]:
        """Images, newest first, a line per tag."""
        del everything  # Docker hides intermediate images without it; there are none here
        for key in filters:
            if key not in FILTERS:
                raise Invalid("no such filter", field="filters", value=key, have=FILTERS)
        rows = [
            row
            for image in self._parts.images.ls()
            if matches_labels(image.config.labels, filters.get("label", []))
            for row in self._rows(image)
        ]
        return [row for row in rows if _passes(row, filters)]

    def _rows(self, image: Image) -> list[ImageRow]:
        ago = build_ago(max(0.0, self._parts.now() - parse_time(image.created)))
        count = len(self.users(image.id))
        rows = []
        for name in image.repo_tags or (f"{NO_NAME}:{NO_NAME}",):
            repository, _, tag = name.rpartition(":")
            rows.append(
                ImageRow(
                    id=image.id,
                    repository=repository,
                    tag=tag,
                    digest=image.manifest_digest,
                    created_at=image.created,
                    created_since=f"{ago} ago",
                    size=build_size(image.size_bytes),
                    size_bytes=image.size_bytes,
                    containers=count,
                )
            )
        return rows

    def inspect(self, names: list[str]) -> list[ImageView]:
        """All about images, in the order asked for."""
        return [image_view(self._parts.images.get(name)) for name in names]

    def history(self, name: str) -> list[HistoryView]:
        """Instructions, newest first; those that made no layer have zero bytes."""
        image = self._parts.images.get(name)
        now = self._parts.now()
        rows = [
            HistoryView(
                id="<missing>",
                created_at=row.created,
                created_since=f"{build_ago(max(0.0, now - parse_time(row.created)))} ago",
                created_by=row.created_by,
                size=build_size(row.size_bytes),
                size_bytes=row.size_bytes,
                comment=row.comment,
            )
            for row in reversed(image.history)
        ]
        if not rows:
            return []
        first = rows[0]
        newest = HistoryView(
            id=image.id, created_at=first.created_at, created_since=first.created_since,
            created_by=first.created_by, size=first.size, size_bytes=first.size_bytes,
            comment=first.comment,
        )  # fmt: skip
        return [newest, *rows[1:]]

    async def tag(self, source: str, target: str) -> None:
        """Add a name."""
        await self._parts.images.tag(source, target)
        self._tell(self._parts.images.get(target), "tag", target)

    async def rm(self, name: str, *, force: bool) -> ImageRemoved:
        """Remove a name, and the image with its last one."""
        image = self._parts.images.get(name)
        removed = await self._parts.images.rm(name, force=force, users=self.users)
        for each in removed.untagged:
            self._tell(image, "untag", each)
        for each in removed.deleted:
            self._parts.events.publish("image", "delete", each, name)
        return ImageRemoved(untagged=list(removed.untagged), deleted=list(removed.deleted))

    async def prune(self, *, everything: bool) -> Pruned:
        """Remove images nobody uses: nameless ones, or all."""
        before = self._parts.images.used_bytes()
        deleted: list[str] = []
        for image in self._parts.images.ls():
            if not self.users(image.id) and (everything or not image.repo_tags):
                try:
                    deleted += (await self.rm(image.id, force=True)).deleted
                except Exception as exc:
                    if kind_of(exc) not in {"busy", "missing"}:
                        raise  # else a container was made of it just now, or it is gone already
        return Pruned(
            deleted=deleted, space_reclaimed=max(0, before - self._parts.images.used_bytes())
        )


def _passes(row: ImageRow, filters: dict[str, list[str]]) -> bool:
    dangling = row.tag == NO_NAME
    names = {row.repository, f"{row.repository}:{row.tag}"}
    return all(
        dangling == (value.lower() in {"true", "1"}) for value in filters.get("dangling", [])
    ) and bool(names & set(filters.get("reference", list(names))))


def image_view(image: Image) -> ImageView:
    """One element of ``image inspect``."""
    config = image.config
    return ImageView(
        id=image.id,
        repo_tags=list(image.repo_tags),
        repo_digests=list(image.repo_digests),
        created=image.created,
        architecture=image.architecture,
        variant=image.variant,
        os=image.os,
        size=image.size_bytes,
        config=ImageConfigView(
            user=config.user,
            exposed_ports={port: {} for port in config.exposed_ports},
            env=list(config.env),
            entrypoint=list(config.entrypoint) or None,
            cmd=list(config.cmd) or None,
            volumes={path: {} for path in config.volumes},
            working_dir=config.working_dir,
            labels=dict(config.labels),
            stop_signal=config.stop_signal,
            healthcheck=healthcheck_view(config.healthcheck),
        ),
        root_fs=RootFsView(
            type="layers",
            layers=list(image.diff_ids),
            distribution_digests=list(image.layer_digests),
        ),
        manifest_digest=image.manifest_digest,
        index_digest=image.index_digest,
    )
