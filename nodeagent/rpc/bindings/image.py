"""Handlers of images. No decisions here: unpack, call, pack."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TypeVar

import trio

from nodeagent.control.health import image_check
from nodeagent.model.image import PullItem
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.image import (
    ImageImport,
    ImageLoad,
    ImageLogin,
    ImagePrune,
    ImagePull,
    ImagePush,
    ImageRemove,
    ImageSave,
    ImageTag,
    ImageTags,
    LoadResult,
    PushResult,
    RegistryLogin,
)
from nodeagent.rpc.schema.shapes import DataItem, Done, ListParams, Ref, Refs
from nodeagent.rpc.server import Call
from runtime.contract.image import Login, Progress
from runtime.imageconfig import ImageConfig

PROGRESS_QUEUE = 256  # progress a slow client may lag behind; then the newest is dropped
_T = TypeVar("_T")


async def _with_progress(
    call: Call, work: Callable[[Callable[[Progress], None]], Awaitable[_T]]
) -> _T:
    """Run ``work`` and send its progress; a slow client loses progress, never speed."""
    sender, receiver = trio.open_memory_channel[PullItem](PROGRESS_QUEUE)

    def report(progress: Progress) -> None:
        item = PullItem(
            layer=progress.layer,
            status=progress.status,
            current_bytes=progress.current_bytes,
            total_bytes=progress.total_bytes,
        )
        try:
            sender.send_nowait(item)
        except trio.WouldBlock:
            return

    async def pump() -> None:
        async for item in receiver:
            await call.send(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        with sender:
            result = await work(report)
    return result


async def read_input(call: Call) -> AsyncGenerator[bytes, None]:
    """What the caller sends, until it ends."""
    while (data := await call.receive_input()) is not None:
        yield data


async def send_all(call: Call, source: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> Done:
    """Send bytes as they come."""
    async with source as chunks:
        async for chunk in chunks:
            await call.send(DataItem(data=chunk))
    return Done()


def _login(asked: RegistryLogin | None) -> Login | None:
    return Login(user=asked.user, password=asked.password) if asked else None


class ImageMethods:
    """Handlers of images: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def image_pull(self, p: ImagePull, call: Call) -> object:
        return await _with_progress(
            call,
            lambda report: self._use.imaging.pull(p.ref, p.platform, report, _login(p.login)),
        )

    async def image_push(self, p: ImagePush, call: Call) -> PushResult:
        digest = await _with_progress(
            call, lambda report: self._use.imaging.push(p.ref, report, _login(p.login))
        )
        return PushResult(digest=digest)

    async def image_tags(self, p: ImageTags, _call: Call) -> object:
        return await self._use.imaging.tags(p.ref, _login(p.login))

    async def image_login(self, p: ImageLogin, _call: Call) -> Done:
        login = Login(user=p.login.user, password=p.login.password)
        await self._use.imaging.login(p.server, login)
        return Done()

    async def image_save(self, p: ImageSave, call: Call) -> Done:
        return await send_all(call, self._use.imaging.save(p.names))

    async def image_import(self, p: ImageImport, call: Call) -> object:
        config = ImageConfig(
            entrypoint=tuple(p.entrypoint),
            cmd=tuple(p.cmd),
            env=tuple(p.env),
            working_dir=p.working_dir,
            user=p.user,
            exposed_ports=tuple(p.exposed_ports),
            volumes=tuple(p.volumes),
            labels=p.labels,
            healthcheck=image_check(p.health),
        )
        async with aclosing(read_input(call)) as chunks:
            return await self._use.imaging.import_rootfs(
                chunks, ref=p.ref, config=config, message=p.message
            )

    async def image_load(self, _p: ImageLoad, call: Call) -> LoadResult:
        async with aclosing(read_input(call)) as chunks:
            names = await _with_progress(
                call, lambda report: self._use.imaging.load(chunks, report)
            )
        return LoadResult(images=names)

    async def image_ls(self, p: ListParams, _call: Call) -> object:
        return self._use.imaging.ls(everything=p.all, filters=p.filters)

    async def image_inspect(self, p: Refs, _call: Call) -> object:
        return self._use.imaging.inspect(p.names)

    async def image_history(self, p: Ref, _call: Call) -> object:
        return self._use.imaging.history(p.name)

    async def image_tag(self, p: ImageTag, _call: Call) -> Done:
        await self._use.imaging.tag(p.source, p.target)
        return Done()

    async def image_rm(self, p: ImageRemove, _call: Call) -> object:
        return await self._use.imaging.rm(p.name, force=p.force)

    async def image_prune(self, p: ImagePrune, _call: Call) -> object:
        return await self._use.imaging.prune(everything=p.all)
