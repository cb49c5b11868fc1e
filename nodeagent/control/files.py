"""Files of containers: copy in and out, export, what changed, and images made of that."""

import posixpath
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from nodeagent.control.containers import Containers
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.parts import Parts
from nodeagent.control.starting import id_range
from nodeagent.control.times import build_time
from nodeagent.control.volumes import Volumes
from nodeagent.errors import Conflict, Invalid, Refused
from nodeagent.model.container import ContainerRecord, MountRecord
from runtime.contract.files import Change, Files, PathStat
from runtime.contract.image import Commit, Image
from runtime.contract.rootfs import IdRange
from runtime.imageconfig import ImageConfig

UNDO_S: Final = 10.0  # for a mount or a freeze to be taken back; a guess
LINKS_MAX: Final = 40  # as the kernel's own limit
# What every container has mounted besides its own mounts.
MOUNTED: Final = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


class ContainerFiles:
    """Use cases of what is in a container's filesystem, whether it runs or not.

    A container that is down has its root mounted for the time, and cannot start meanwhile.
    """

    def __init__(
        self,
        parts: Parts,
        containers: Containers,
        volumes: Volumes,
        lifecycle: Lifecycle,
        files: Files,
    ) -> None:
        self._parts = parts
        self._containers = containers
        self._volumes = volumes
        self._lifecycle = lifecycle
        self._files = files

    # --- copy -----------------------------------------------------------------------------------

    async def stat(self, name: str, path: str, *, follow: bool) -> tuple[str, PathStat]:
        """What is at a path, and where that is once links at its end are followed."""
        asked = _absolute(path)
        async with self._root(name, asked) as (root, base):
            return await self._resolve(root, base, asked, follow=follow)

    @asynccontextmanager
    async def copy_out(
        self, name: str, path: str, *, follow: bool
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The tar of a file, or of a folder and all in it; its first entry bears its own name."""
        asked = _absolute(path)
        async with self._root(name, asked) as (root, base):
            where, _ = await self._resolve(root, base, asked, follow=follow)
            title = posixpath.basename(posixpath.normpath(where)) or "."
            ids = self._ids(name, root)
            below = _below(where, base)
            async with self._files.read(root, below, name=title, ids=ids) as chunks:
                yield chunks
        self._tell(name, "archive-path", path=asked)

    async def copy_in(
        self, name: str, path: str, chunks: AsyncIterator[bytes], *, keep_owner: bool
    ) -> None:
        """Unpack a tar into a folder of the container."""
        asked = _absolute(path)
        async with self._root(name, asked, to_write=True) as (root, base):
            ids = self._ids(name, root)
            below = _below(asked, base)
            await self._files.write(root, below, chunks, keep_owner=keep_owner, ids=ids)
        self._tell(name, "extract-to-dir", path=asked)

    async def _resolve(
        self, root: Path, base: str, path: str, *, follow: bool
    ) -> tuple[str, PathStat]:
        for _ in range(LINKS_MAX):
            found = await self._files.stat(root, _below(path, base))
            if not (follow and found.link_target):
                return path, found
            path = posixpath.join(posixpath.dirname(path.rstrip("/")), found.link_target)
        raise Refused("too many links", field="path", value=path)

    # --- export, diff, commit -------------------------------------------------------------------

    @asynccontextmanager
    async def export(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The tar of the whole root filesystem, without volumes."""
        async with self._mounted(name) as record, self._parts.roots.pack(record.id) as chunks:
            yield chunks
        self._tell(name, "export")

    async def diff(self, name: str) -> list[Change]:
        """What the container added, changed and deleted in its root filesystem."""
        record = self._parts.inventory.container(name)
        layers = self._parts.images.layer_paths(self._image(record))
        return await self._parts.roots.changes(record.id, layers, left_out=_mount_points(record))

    async def commit(
        self,
        name: str,
        change: Callable[[ImageConfig], ImageConfig],
        *,
        ref: str,
        author: str,
        message: str,
        pause: bool,
    ) -> Image:
        """Make an image of what the container is now.

        Args:
            change: makes the image's config of the container's.
            pause: freeze the processes meanwhile, so that all files are of one moment.
        """
        record = self._parts.inventory.container(name)
        parent = self._image(record)
        draft = Commit(
            config=change(run_config(record, parent.config)),
            created=build_time(self._parts.now()),
            created_by=" ".join(record.args),
            ref=ref,
            author=author,
            message=message,
        )
        async with AsyncExitStack() as stack:
            if pause and self._is_going(record):
                stack.push_async_callback(self._thaw, record.id)
                await self._mark(record.id, frozen=True)
                await self._lifecycle.pause(record.id)
            left_out = _mount_points(record)
            layer = self._parts.roots.pack_layer(record.id, left_out=left_out)
            chunks = await stack.enter_async_context(layer)
            image = await self._parts.images.commit(parent, chunks, draft)
        self._tell(name, "commit", comment=message, imageID=image.id, imageRef=ref)
        return image

    def _is_going(self, record: ContainerRecord) -> bool:
        return record.phase == "running" and not self._containers.is_paused(record.id)

    async def _thaw(self, id_: str) -> None:
        """Let it go on, unless it was killed or let go meanwhile."""
        with trio.move_on_after(UNDO_S, shield=True):
            if self._containers.is_paused(id_):
                await self._lifecycle.unpause(id_)
            if id_ in self._parts.inventory.containers:
                await self._mark(id_, frozen=False)

    async def _mark(self, id_: str, *, frozen: bool) -> None:
        async with self._containers.step(id_) as record:
            changed = msgspec.structs.replace(record, frozen_by_us=frozen)
            await self._parts.inventory.put(changed)

    # --- where it is ----------------------------------------------------------------------------

    def _image(self, record: ContainerRecord) -> Image:
        return self._parts.images.get(record.image_id)

    def _tell(self, name: str, action: str, **attributes: str) -> None:
        record = self._parts.inventory.container(name)
        self._parts.events.tell(record, action, **attributes)

    @asynccontextmanager
    async def _mounted(self, name: str) -> AsyncIterator[ContainerRecord]:
        """Have the root filesystem mounted; what runs has it anyway."""
        record = self._parts.inventory.container(name)
        if record.phase == "running":
            yield record
            return
        async with self._containers.step(record.id) as held:
            if held.phase == "running":
                yield held
                return
            if held.phase == "removing":
                raise Conflict("the container is being removed", field="name", name=name)
            image, roots = self._image(held), self._parts.roots
            await roots.mount(
                held.id, self._parts.images.layer_paths(image), image_id=image.id,
                size_bytes=held.request.storage_size_bytes, ids=id_range(held),
            )  # fmt: skip
            try:
                yield held
            finally:
                with trio.move_on_after(UNDO_S, shield=True):
                    await roots.unmount(held.id)

    @asynccontextmanager
    async def _root(
        self, name: str, path: str, *, to_write: bool = False
    ) -> AsyncIterator[tuple[Path, str]]:
        """A directory of the host, and which path of the container it is.

        What runs is seen as it sees itself, with all its mounts. Of what is down, or has mounts
        with other owners than the host's, the mount that holds the path is found by its text.
        """
        async with self._mounted(name) as record:
            if record.phase == "running" and record.ids is None:
                yield Path(f"/proc/{self._containers.pid_of(record.id)}/root"), "/"
                return
            mount = _mount_of(record, path)
            if to_write and (mount.read_only if mount else record.request.read_only):
                raise Refused("it is mounted read-only", field="path", value=path)
            if mount is None:
                yield self._merged(record), "/"
                return
            try:
                yield Path(await self._source(record, mount)), mount.target
            finally:
                if record.phase != "running":  # what runs goes on having its volumes
                    with trio.move_on_after(UNDO_S, shield=True):
                        await self._volumes.use.detach(record.id)

    def _merged(self, record: ContainerRecord) -> Path:
        return self._parts.settings.root / "containers" / record.id / "merged"

    def _ids(self, name: str, root: Path) -> IdRange | None:
        """Whose files a root holds: of volumes the container's namespace has mapped mounts."""
        record = self._parts.inventory.container(name)
        return id_range(record) if root == self._merged(record) else None

    async def _source(self, record: ContainerRecord, mount: MountRecord) -> str:
        if mount.type == "tmpfs":
            raise Conflict(
                "a tmpfs of a container that is down, or in a user namespace, is out of reach",
                field="path",
                value=mount.target,
            )
        if mount.type == "bind":
            return mount.source
        return (await self._volumes.use.attach(record))[mount.name]


def run_config(record: ContainerRecord, image: ImageConfig) -> ImageConfig:
    """How the container is run, as an image says it."""
    request = record.request
    has_entrypoint = request.entrypoint is not None
    entrypoint = [word for word in request.entrypoint or () if word]
    return ImageConfig(
        entrypoint=tuple(entrypoint) if has_entrypoint else image.entrypoint,
        cmd=tuple(request.cmd) if request.cmd or has_entrypoint else image.cmd,
        env=tuple(_env(image.env, request.env)),
        working_dir=record.working_dir,
        user=record.user,
        exposed_ports=tuple(record.expose),
        volumes=image.volumes,
        labels=record.labels,
        stop_signal=request.stop_signal or image.stop_signal,
        healthcheck=image.healthcheck,
        shell=image.shell,
    )


def _env(*sources: tuple[str, ...] | list[str]) -> list[str]:
    """Later entries win; ``K`` alone removes K."""
    merged: dict[str, str] = {}
    for entry in (each for source in sources for each in source):
        key, has_value, value = entry.partition("=")
        merged.pop(key, None)
        if has_value:
            merged[key] = value
    return [f"{key}={value}" for key, value in merged.items()]


def _absolute(path: str) -> str:
    if not path or "\0" in path:
        raise Invalid("give a path inside the container", field="path", value=path)
    return path if path.startswith("/") else f"/{path}"


def _below(path: str, base: str) -> str:
    """A path of the container, as seen from the directory that is mounted at ``base``."""
    if base == "/":
        return path
    inner = posixpath.normpath(path).removeprefix(base)
    return inner if inner.startswith("/") else f"/{inner}"


def _mount_of(record: ContainerRecord, path: str) -> MountRecord | None:
    """The innermost mount that holds the path; as in the record, an inner one comes later."""
    clean = posixpath.normpath(path)
    holding = [
        mount
        for mount in record.mounts
        if clean == mount.target or clean.startswith(mount.target.rstrip("/") + "/")
    ]
    return holding[-1] if holding else None


def _mount_points(record: ContainerRecord) -> list[str]:
    return [*MOUNTED, *(mount.target for mount in record.mounts)]
