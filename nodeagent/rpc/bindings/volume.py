"""Handlers of volumes. No decisions here: unpack, call, pack."""

from nodeagent.model.volume import VolumeCreate
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.shapes import Done, ListParams, Refs
from nodeagent.rpc.schema.volume import VolumePrune, VolumeRemove
from nodeagent.rpc.server import Call


class VolumeMethods:
    """Handlers of volumes: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def volume_create(self, p: VolumeCreate, _call: Call) -> object:
        return await self._use.volumes.create(p)

    async def volume_rm(self, p: VolumeRemove, _call: Call) -> Done:
        await self._use.volumes.rm(p.name, force=p.force)
        return Done()

    async def volume_prune(self, p: VolumePrune, _call: Call) -> object:
        return await self._use.volumes.prune(everything=p.all)

    async def volume_ls(self, p: ListParams, _call: Call) -> object:
        return self._use.volumes.ls(p.filters)

    async def volume_inspect(self, p: Refs, _call: Call) -> object:
        return await self._use.volumes.inspect(p.names)
