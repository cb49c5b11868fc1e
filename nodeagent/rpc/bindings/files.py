"""Handlers of files in containers. No decisions here: unpack, call, pack."""

from contextlib import aclosing
from dataclasses import replace

from nodeagent.control.health import image_check
from nodeagent.control.imaging import image_view
from nodeagent.rpc.bindings.image import read_input, send_all
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.files import (
    ChangeRow,
    ChangesItem,
    ContainerCommit,
    ContainerExport,
    CopyIn,
    PathParams,
    PathResult,
)
from nodeagent.rpc.schema.shapes import Done
from nodeagent.rpc.server import Call
from runtime.imageconfig import ImageConfig

BATCH = 500  # changes in one item


class FileMethods:
    """Handlers of files in containers: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def container_stat(self, p: PathParams, _call: Call) -> PathResult:
        where, found = await self._use.files.stat(p.name, p.path, follow=p.follow)
        return PathResult(
            path=where,
            size_bytes=found.size_bytes,
            mode=found.mode,
            mtime_ns=found.mtime_ns,
            link_target=found.link_target,
        )

    async def container_pack(self, p: PathParams, call: Call) -> Done:
        return await send_all(call, self._use.files.copy_out(p.name, p.path, follow=p.follow))

    async def container_unpack(self, p: CopyIn, call: Call) -> Done:
        async with aclosing(read_input(call)) as chunks:
            await self._use.files.copy_in(p.name, p.path, chunks, keep_owner=p.keep_owner)
        return Done()

    async def container_export(self, p: ContainerExport, call: Call) -> Done:
        return await send_all(call, self._use.files.export(p.name))

    async def container_diff(self, p: ContainerExport, call: Call) -> Done:
        changes = await self._use.files.diff(p.name)
        for start in range(0, len(changes), BATCH):
            rows = [ChangeRow(kind=e.kind, path=e.path) for e in changes[start : start + BATCH]]
            await call.send(ChangesItem(changes=rows))
        return Done()

    async def container_commit(self, p: ContainerCommit, _call: Call) -> object:
        image = await self._use.files.commit(
            p.name,
            lambda config: _changed(config, p),
            ref=p.ref,
            author=p.author,
            message=p.message,
            pause=p.pause,
        )
        return image_view(image)


def _changed(config: ImageConfig, p: ContainerCommit) -> ImageConfig:
    """The config with what the call gives."""
    keys = {entry.partition("=")[0] for entry in p.env}
    env = [entry for entry in config.env if entry.partition("=")[0] not in keys]
    return replace(
        config,
        entrypoint=config.entrypoint if p.entrypoint is None else tuple(p.entrypoint),
        cmd=config.cmd if p.cmd is None else tuple(p.cmd),
        env=(*env, *p.env),
        working_dir=p.working_dir or config.working_dir,
        user=p.user or config.user,
        exposed_ports=tuple(sorted({*config.exposed_ports, *p.exposed_ports})),
        volumes=tuple(sorted({*config.volumes, *p.volumes})),
        labels={**config.labels, **p.labels},
        healthcheck=image_check(p.health) or config.healthcheck,
    )
