"""Handlers of the cluster and its nodes. No decisions here: unpack, call, pack."""

from contextlib import aclosing
from typing import Final

import trio

from nodeagent.errors import Busy, Invalid
from nodeagent.model.cluster import (
    BackupTaken,
    BackupView,
    CertRequest,
    CertView,
    ClusterAdmit,
    ClusterAdmitted,
    ClusterEnter,
    ClusterInit,
    ClusterJoin,
    ClusterLeave,
    ClusterRecover,
    ClusterRestore,
    ClusterSign,
    NodeRef,
    NodeRemove,
    NodeUpdate,
    RecoveryView,
    RotationView,
    Secret,
    StoreStanding,
    TokenRequest,
    Warned,
)
from nodeagent.rpc.bindings.image import read_input
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.crowd import Pace
from nodeagent.rpc.schema.shapes import DataItem, Done, Id, ListParams, Nothing, Refs, Windowed
from nodeagent.rpc.server import Call
from nodeagent.rpc.streams import PIECE_BYTES

ADMITS: Final = 10  # from one address at once; then one each ADMIT_S
ADMIT_S: Final = 2.0
BACKUP_MAX_BYTES: Final = 256 << 20


class ClusterMethods:
    """Handlers of the cluster and its nodes: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use
        self._asked_in = Pace(burst=ADMITS, every_s=ADMIT_S)

    async def cluster_init(self, p: ClusterInit, _call: Call) -> Id:
        own = await self._use.membership.init(p)
        return Id(id=own.node_id, name=own.name)

    async def cluster_join(self, p: ClusterJoin, _call: Call) -> Id:
        own = await self._use.membership.join(p)
        return Id(id=own.node_id, name=own.role)

    async def cluster_leave(self, p: ClusterLeave, _call: Call) -> Done:
        await self._use.membership.leave(force=p.force)
        return Done()

    async def cluster_info(self, _p: Nothing, _call: Call) -> object:
        return await self._use.nodes.info()

    async def cluster_token(self, p: TokenRequest, _call: Call) -> Secret:
        return Secret(text=await self._use.cluster.admin().token(p))

    async def cluster_certificate(self, p: CertRequest, _call: Call) -> CertView:
        return await self._use.cluster.admin().certificate(p)

    async def cluster_authority(self, _p: Nothing, _call: Call) -> str:
        return self._use.cluster.place.authority().decode()

    async def cluster_admit(self, p: ClusterAdmit, call: Call) -> ClusterAdmitted:
        if not self._asked_in.may(call.peer.address, trio.current_time()):
            raise Busy("this address asks to be admitted too often", retry_after_s=ADMIT_S)
        cluster = self._use.cluster
        return await cluster.admin().admit(p, cluster.identity.managers)

    async def cluster_enter(self, p: ClusterEnter, call: Call) -> Done:
        admin, node = self._use.cluster.admin(), _node_of(call)
        if p.volume:
            await admin.enter_volume(node, p.volume)
        else:
            await admin.enter(node, p.network)
        return Done()

    async def cluster_renew(self, _p: Nothing, _call: Call) -> Done:
        await self._use.cluster.renewal().renew()
        return Done()

    async def cluster_sign(self, p: ClusterSign, call: Call) -> str:
        return await self._use.cluster.admin().renew(_node_of(call), p.request)

    async def cluster_backup(self, _p: Windowed, call: Call) -> BackupTaken:
        data, taken = await self._use.cluster_backups.take()
        for at in range(0, len(data), PIECE_BYTES):
            await call.send(DataItem(data=data[at : at + PIECE_BYTES]))
        return taken

    async def cluster_restore(self, p: ClusterRestore, call: Call) -> BackupView:
        data = bytearray()
        async with aclosing(read_input(call)) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > BACKUP_MAX_BYTES:
                    raise Invalid("the file is larger than any backup of ours", field="file")
        return await self._use.cluster_backups.restore(p, bytes(data))

    async def cluster_recover(self, p: ClusterRecover, _call: Call) -> RecoveryView:
        return await self._use.cluster_backups.recover(p)

    async def cluster_rotate(self, _p: Nothing, _call: Call) -> RotationView:
        return await self._use.rotation.begin()

    async def cluster_rotation(self, _p: Nothing, _call: Call) -> RotationView:
        return await self._use.rotation.view()

    async def cluster_standing(self, _p: Nothing, _call: Call) -> StoreStanding:
        return await self._use.cluster_backups.standing()

    async def cluster_goodbye(self, _p: Nothing, call: Call) -> Done:
        await self._use.cluster.admin().take_out(_node_of(call))
        return Done()

    async def node_ls(self, p: ListParams, _call: Call) -> object:
        return self._use.nodes.ls(p.filters)

    async def node_inspect(self, p: Refs, _call: Call) -> object:
        return [self._use.nodes.find(name) for name in p.names]

    async def node_update(self, p: NodeUpdate, _call: Call) -> Done:
        node = self._use.nodes.find(p.name)
        await self._use.cluster.admin().update(node.id, p)
        return Done()

    async def node_promote(self, p: NodeRef, _call: Call) -> Warned:
        return await self._use.nodes.change_role(p.name, "manager")

    async def node_demote(self, p: NodeRef, _call: Call) -> Warned:
        return await self._use.nodes.change_role(p.name, "worker")

    async def node_rm(self, p: NodeRemove, _call: Call) -> Done:
        await self._use.nodes.rm(p.name, force=p.force)
        return Done()


def _node_of(call: Call) -> str:
    """The id in a node's certificate."""
    return call.peer.name.partition("-")[2]
