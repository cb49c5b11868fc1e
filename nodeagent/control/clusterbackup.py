"""Use cases ``cluster backup|restore|recover``: the store's state in a file, and after a loss."""

import hashlib
import socket
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio

from nodeagent.cluster import ca
from nodeagent.cluster.backupfile import Backup, build_backup, is_kept, parse_backup
from nodeagent.cluster.etcd.client import Address, EtcdClient, open_client
from nodeagent.control.cluster import Cluster
from nodeagent.control.founding import authority_of, specs_of
from nodeagent.control.hostaddress import advertised, build_host
from nodeagent.control.parts import Parts
from nodeagent.control.times import build_time
from nodeagent.errors import Conflict, Refused, Unavailable, kind_of
from nodeagent.model.cluster import (
    BackupTaken,
    BackupView,
    ClusterRecover,
    ClusterRestore,
    ClusterSelf,
    RecoveryView,
    StoreStanding,
)

ANSWER_S: Final = 5.0  # for a store that may have no quorum, or a manager that may be gone
BEGIN_S: Final = 60.0
AHEAD: Final = (
    "{name} ({address}) has seen more (revision {revision}): recover there, if that can be"
)


class ClusterBackups:
    """``changing``: held while an agent's membership changes."""

    def __init__(self, parts: Parts, cluster: Cluster, changing: trio.Lock) -> None:
        self._parts = parts
        self._cluster = cluster
        self._changing = changing

    # --- backup ----------------------------------------------------------------------------------

    async def take(self) -> tuple[bytes, BackupTaken]:
        """The file, and what it holds. Refused: this is no manager. Unavailable: no quorum."""
        self._cluster.admin()
        store, own = self._cluster.store, self._cluster.identity
        rows = await store.read("")
        kept = {row.key: row.value for row in rows if is_kept(row.key)}
        backup = Backup(
            cluster=own.cluster, revision=max(row.revision for row in rows),
            taken=build_time(self._parts.now()), rows=kept,
        )  # fmt: skip
        data = await trio.to_thread.run_sync(build_backup, backup)
        taken = BackupTaken(
            cluster=own.cluster, revision=backup.revision, rows=len(kept),
            sha256=hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
        return data, taken

    # --- restore ---------------------------------------------------------------------------------

    async def restore(self, asked: ClusterRestore, data: bytes) -> BackupView:
        """Begin the cluster anew from a backup, with this agent as its one manager.

        Raises:
            Invalid: the file is no backup, or damaged; or the address is none of this host's.
            Conflict: this agent is in another cluster. Refused: the store of this one answers.
            Unavailable: etcd is not installed, or does not come up.
        """
        backup = await trio.to_thread.run_sync(parse_backup, data)
        authority, specs = authority_of(backup), specs_of(backup)
        async with self._changing:
            own = await self._next_self(backup, asked.advertise_addr)
            view = BackupView(
                cluster=backup.cluster, taken=backup.taken, revision=backup.revision,
                nodes=len(specs), networks=_count(backup, "network/"),
                endpoints=_count(backup, "ep/"),
                become_workers=sorted(each.name for id_, each in specs.items()
                                      if each.role == "manager" and id_ != own.node_id),
            )  # fmt: skip
            if not asked.dry_run:
                await self._begin_with(own, authority, data)
        if not asked.dry_run:
            self._parts.events.publish("cluster", "restore", own.cluster, "")
        return view

    async def _next_self(self, backup: Backup, advertise: str) -> ClusterSelf:
        """Who this agent will be: itself, if it was of that cluster; else another node."""
        was = self._cluster.own
        if was is not None and was.cluster != backup.cluster:
            raise Conflict("this agent is in another cluster; `cluster leave` first",
                           cluster=was.cluster)  # fmt: skip
        if was is not None and await self._has_quorum():
            raise Refused("the cluster's store answers: there is nothing to restore")
        address = advertised(advertise) if advertise or was is None else was.address
        return ClusterSelf(
            cluster=backup.cluster, node_id=was.node_id if was else self._parts.new_id()[:24],
            role="manager", name=socket.gethostname(), address=address,
            managers=[f"{build_host(address)}:{self._cluster.ports.client}"],
            phase="founding", token=self._parts.new_id()[:24],
        )  # fmt: skip

    async def _begin_with(self, own: ClusterSelf, authority: ca.Pair, data: bytes) -> None:
        cluster, now = self._cluster, self._parts.now()
        was_member = cluster.own is not None
        await cluster.withdraw()
        await cluster.forget_store()
        bearer = ca.Bearer(name=f"manager-{own.node_id}", role="manager", hosts=(own.address,))
        place = cluster.place
        place.write_identity(authority.certificate, ca.issue(authority, bearer, now=now))
        place.write_peer(ca.issue_peer(authority, own.address, now=now))
        place.write_founding(authority)
        place.write_backup(data)
        place.write(own)
        try:
            await self._begin(own)
        except BaseException:
            if not was_member:  # else it goes on trying: what it was is gone already
                with trio.CancelScope(shield=True):
                    await cluster.end()
            raise

    async def _begin(self, own: ClusterSelf) -> None:
        await self._cluster.begin(own)
        with trio.move_on_after(BEGIN_S) as limit:
            await self._cluster.wait_active()
        if limit.cancelled_caught:
            raise Unavailable("the cluster's store does not come up", reason=self._cluster.problem)

    # --- recovery --------------------------------------------------------------------------------

    async def recover(self, asked: ClusterRecover) -> RecoveryView:
        """Go on without the other managers: what they alone have seen is lost.

        Raises:
            Refused: this is no manager, or there is a quorum.
            Unavailable: the store does not start.
        """
        async with self._changing:
            own = self._cluster.identity
            if own.role != "manager":
                raise Refused("this is a worker: recover on a manager that is left", field="node")
            view = await self._look(own)
            if asked.dry_run:
                return view
            if view.quorum:
                raise Refused("the cluster's store answers: there is nothing to recover")
            own = msgspec.structs.replace(own, phase="recovering")
            self._cluster.place.write(own)
            await self._cluster.withdraw()
            await self._begin(own)
        self._parts.events.publish("cluster", "recover", own.cluster, "")
        return view

    async def standing(self) -> StoreStanding:
        """What this node's own member of the store knows. Refused: it has none."""
        own = self._cluster.identity
        if own.role != "manager":
            raise Refused("this is a worker", field="node")
        async with self._own_member(own) as client:
            return await _ask_standing(own, client)

    def _own_member(self, own: ClusterSelf) -> AbstractAsyncContextManager[EtcdClient]:
        address = (own.address, self._cluster.ports.client)
        return open_client([address], self._cluster.place.store_context)

    async def _has_quorum(self) -> bool:
        with trio.move_on_after(ANSWER_S):
            try:
                await self._cluster.store.commit()
            except Unavailable:
                return False
            return True
        return False

    async def _look(self, own: ClusterSelf) -> RecoveryView:
        async with self._own_member(own) as client:
            found = [await _ask_standing(own, client)]
            others = await _other_members(own, client)
        async with trio.open_nursery() as nursery:
            for node_id, host in others.items():
                nursery.start_soon(self._ask_other, node_id, host, found)
        quorum = await self._has_quorum()
        found[1:] = sorted(found[1:], key=lambda each: each.node_id)
        return RecoveryView(quorum=quorum, managers=found, advice=_advise(found))

    async def _ask_other(self, node_id: str, host: str, found: list[StoreStanding]) -> None:
        spec = self._cluster.specs().get(node_id)
        remote: Address = (host, self._cluster.ports.rpc)
        said = StoreStanding(node_id=node_id, name=spec.name if spec else node_id[:12],
                             address=host, answers=False)  # fmt: skip
        with trio.move_on_after(ANSWER_S) as limit:
            try:
                answer = await self._cluster.ask_manager(remote, "cluster.standing", {})
                said = msgspec.convert(answer, type=StoreStanding)
            except Exception as exc:
                if not kind_of(exc):
                    raise
                said = msgspec.structs.replace(said, problem=str(exc))
        if limit.cancelled_caught:
            said = msgspec.structs.replace(said, problem="no answer")
        found.append(said)


async def _ask_standing(own: ClusterSelf, client: EtcdClient) -> StoreStanding:
    answer = await client.call("Status", timeout_s=ANSWER_S)
    return StoreStanding(
        node_id=own.node_id, name=own.name, address=own.address, answers=True,
        revision=answer.header.revision, term=answer.raftTerm,
    )  # fmt: skip


async def _other_members(own: ClusterSelf, client: EtcdClient) -> dict[str, str]:
    """Hosts of the others by their nodes' ids, as this member knows them."""
    listed = await client.call("MemberList", timeout_s=ANSWER_S)
    return {
        each.name: urlsplit(each.peerURLs[0]).hostname or ""
        for each in listed.members
        if each.name not in {"", own.node_id}
    }


def _advise(found: list[StoreStanding]) -> list[str]:
    """What to think of before going on alone. Pure."""
    own, others = found[0], found[1:]
    said = [
        AHEAD.format(name=each.name, address=each.address, revision=each.revision)
        for each in others
        if each.answers and (each.term, each.revision) > (own.term, own.revision)
    ]
    silent = [each.name for each in others if not each.answers]
    if silent:
        said.append(
            f"{', '.join(silent)}: not heard, so what they alone have seen is not known; if they "
            "run somewhere and see each other, there will be two clusters: make sure of that"
        )
    return said


def _count(backup: Backup, prefix: str) -> int:
    return sum(key.startswith(prefix) for key in backup.rows)
