"""Handlers of volumes. No decisions here: unpack, call, pack."""

from contextlib import aclosing

from nodeagent.model.volume import (
    LeaseBreak,
    LeaseBroken,
    VolumeArchive,
    VolumeCopied,
    VolumeCreate,
    VolumeUpdate,
)
from nodeagent.rpc.bindings.image import read_input
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.shapes import DataItem, Done, ListParams, Nothing, Ref, Refs
from nodeagent.rpc.schema.volume import (
    VolumeBackupParams,
    VolumeClone,
    VolumeExport,
    VolumeImport,
    VolumePrune,
    VolumeRemove,
    VolumeRename,
    VolumeSnapshot,
)
from nodeagent.rpc.server import Call


class VolumeMethods:
    """Handlers of volumes: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def volume_create(self, p: VolumeCreate, _call: Call) -> object:
        return await self._use.volumes.create(p)

    async def volume_rm(self, p: VolumeRemove, _call: Call) -> object:
        kept = await self._use.copies.rm(p.name, force=p.force, now=p.now)
        return VolumeCopied(name=kept, of=p.name, method="rename" if kept else "delete")

    async def volume_prune(self, p: VolumePrune, _call: Call) -> object:
        if p.expired:
            return await self._use.volume_keeper.prune_expired()
        return await self._use.copies.prune(everything=p.all, now=p.now)

    async def volume_update(self, p: VolumeUpdate, _call: Call) -> object:
        return await self._use.volumes.update(p)

    async def volume_rename(self, p: VolumeRename, _call: Call) -> Done:
        await self._use.copies.rename(p.name, p.new)
        return Done()

    async def volume_snapshot(self, p: VolumeSnapshot, _call: Call) -> object:
        return await self._use.quiescing.snapshot(
            p.name, p.label, quiesce=p.quiesce, resume=p.resume
        )

    async def volume_clone(self, p: VolumeClone, _call: Call) -> object:
        return await self._use.copies.clone(p.name, p.target)

    async def volume_restore(self, p: Ref, _call: Call) -> object:
        return await self._use.copies.restore(p.name)

    async def volume_backup(self, p: VolumeBackupParams, _call: Call) -> object:
        return await self._use.volume_streams.backup(p.name, p.target, keep=p.keep)

    async def volume_export(self, p: VolumeExport, call: Call) -> object:
        exported = self._use.volume_streams.export(p.name, compress=p.compress)
        async with exported as (chunks, digest):
            async for chunk in chunks:
                await call.send(DataItem(data=chunk))
        return VolumeArchive(name=p.name, sha256=digest.hex, bytes=digest.size)

    async def volume_import(self, p: VolumeImport, call: Call) -> object:
        driver = p.driver or self._use.volumes.driver_name(p.name)
        request = VolumeCreate(name=p.name, driver=driver, options=p.options, labels=p.labels)
        async with aclosing(read_input(call)) as chunks:
            return await self._use.volume_streams.import_(request, chunks, sha256=p.sha256)

    async def volume_ls(self, p: ListParams, _call: Call) -> object:
        return self._use.volumes.ls(p.filters, everything=p.all)

    async def volume_leases(self, _p: Nothing, _call: Call) -> object:
        return await self._use.volume_fence.ls()

    async def volume_breaklease(self, p: LeaseBreak, _call: Call) -> object:
        return LeaseBroken(holders=await self._use.volume_fence.break_(p))

    async def volume_inspect(self, p: Refs, _call: Call) -> object:
        return await self._use.volumes.inspect(p.names)
