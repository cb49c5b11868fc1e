"""The cluster's authority is replaced by another one, while everything runs.

First every node comes to trust both, then every node gets a certificate of the new one, then the
former is trusted no more. Where that stands is one row of the store: managers move it on when all
nodes have told that they have followed, and each node follows it. So any of them may be killed or
away at any time; the rotation waits for it.
"""

import logging
from typing import Final, NoReturn

import msgspec
import trio

from nodeagent.cluster import ca
from nodeagent.cluster.mirror import Mirror, believe
from nodeagent.control.cluster import Cluster
from nodeagent.control.founding import Pems
from nodeagent.control.parts import Parts
from nodeagent.control.storerights import StoreRights
from nodeagent.control.wakes import Wakes
from nodeagent.errors import Conflict, Missing, kind_of
from nodeagent.model.cluster import RotationView, Trust
from nodeagent.state.store import ABSENT, Delete, Put

log = logging.getLogger(__name__)

TRUST: Final = "trust"
NEXT: Final = "secret/ca-next"
TURN: Final = "restart"  # held by the one manager whose member is started anew
LOOK_S: Final = 5.0
TURN_S: Final = 30.0  # after which another one may, should this one have been killed


class Rotation:
    """One for the agent; outside a cluster it does nothing."""

    def __init__(self, parts: Parts, cluster: Cluster) -> None:
        self._parts = parts
        self._cluster = cluster
        self._wakes = Wakes()
        cluster.changed.append(self._wakes.wake)

    # --- use cases -------------------------------------------------------------------------------

    async def begin(self) -> RotationView:
        """Begin a rotation, or say how the one that goes on stands.

        Raises:
            Refused: this is no manager. Conflict: somebody else began one at this moment.
        """
        admin, store = self._cluster.admin(), self._cluster.store
        row = await store.get(TRUST)
        known = believe(row, Trust) if row else None
        if known is None or known.stage == "done":
            now = await admin.authority()
            new = ca.create_ca(self._cluster.identity.cluster, now=self._parts.now())
            rights = StoreRights(self._cluster.client)
            for id_, spec in self._cluster.specs().items():
                if spec.role == "worker":  # one of a former version may not read the row
                    await rights.give("worker", id_)
            trust = Trust(
                stage="both", bundle=ca.join_bundle([now.certificate, new.certificate]).decode(),
                was=ca.ca_digest(now.certificate), new=ca.ca_digest(new.certificate),
            )  # fmt: skip
            pems = Pems(certificate=new.certificate, key=new.key)
            await store.commit(
                Put(NEXT, msgspec.msgpack.encode(pems)),
                Put(TRUST, msgspec.msgpack.encode(trust), row.revision if row else ABSENT),
            )
            self._parts.events.publish("cluster", "rotate", self._cluster.identity.cluster, "")
        return await self.view()

    async def view(self) -> RotationView:
        """How it stands, and whom it waits for. Unavailable: the store does not answer."""
        row = await self._cluster.store.get(TRUST)
        trust = believe(row, Trust) if row else None
        if trust is None:
            return RotationView(stage="none")
        names = {id_: spec.name for id_, spec in self._cluster.specs().items()}
        return RotationView(
            stage=trust.stage, digest=trust.new,
            waits_for=sorted(f"{names[id_]} ({id_[:12]})" for id_ in self._behind(trust)),
        )  # fmt: skip

    def _behind(self, trust: Trust) -> list[str]:
        """Nodes that have not followed so far."""
        selves = self._cluster.selves()
        if trust.stage == "both":
            done = {id_ for id_, each in selves.items() if {trust.was, trust.new} <= {*each.trusts}}
        elif trust.stage == "new":
            done = {id_ for id_, each in selves.items() if each.signed_by == trust.new}
        else:
            done = {id_ for id_, each in selves.items() if each.trusts == [trust.new]}
        return [id_ for id_ in self._cluster.specs() if id_ not in done]

    # --- following -------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Follow and move on for ever, through any failure."""
        while True:
            await self._cluster.wait_active()
            try:
                await self._look()
            except Exception as exc:
                if not kind_of(exc):
                    raise
                log.info("the rotation of the authority waits", extra={"why": str(exc)})
            await self._wakes.wait(LOOK_S)

    async def _look(self) -> None:
        mirror: Mirror = self._cluster.mirror(TRUST)
        row = mirror.rows.get("")
        trust = believe(row, Trust) if row else None
        if trust is None or self._cluster.identity.phase != "ready":
            return
        await self._follow(trust)
        if row is not None and self._cluster.identity.role == "manager":
            await self._move_on(trust, row.revision)

    async def _follow(self, trust: Trust) -> None:
        place = self._cluster.place
        if place.authority().decode() != trust.bundle:
            await trio.to_thread.run_sync(place.write_authority, trust.bundle.encode())
            log.info("this node trusts as the cluster says", extra={"stage": trust.stage})
        if self._cluster.identity.role == "manager" and not place.has_store_authority():
            await self._restart_store()
        if trust.stage == "new" and not _is_signed_by(place.certificate(), trust):
            await self._cluster.renewal().renew()
        await self._cluster.say_self()

    async def _restart_store(self) -> None:
        """Etcd reads whom it trusts when it starts: one manager after the other does that."""
        store, own = self._cluster.store, self._cluster.identity
        lease = await store.grant(TURN_S)
        await store.commit(Put(TURN, own.node_id.encode(), ABSENT, lease=lease))
        await self._cluster.restart_store()
        await store.commit(Delete(TURN))
        log.info("this node's member of the store trusts as the cluster says")

    async def _move_on(self, trust: Trust, revision: int) -> None:
        if trust.stage == "done" or self._behind(trust):
            return
        store = self._cluster.store
        if trust.stage == "both":
            next_ = await store.get(NEXT)
            if next_ is None:
                raise Missing("the new authority is gone", key=NEXT)
            then = msgspec.structs.replace(trust, stage="new")
            ops: list[Put | Delete] = [Put("secret/ca", next_.value), Delete(NEXT)]
        else:
            row = await self._cluster.admin().authority()
            then = msgspec.structs.replace(trust, stage="done", bundle=row.certificate.decode())
            ops = []
        try:
            await store.commit(*ops, Put(TRUST, msgspec.msgpack.encode(then), revision))
        except Conflict:
            return  # another manager was faster
        log.info("the rotation of the authority goes on", extra={"stage": then.stage})
        own = self._cluster.identity
        self._parts.events.publish("cluster", "rotate", own.cluster, "", stage=then.stage)


def _is_signed_by(certificate: bytes, trust: Trust) -> bool:
    """Whether the new authority has signed it."""
    return ca.signer_of(trust.bundle.encode(), certificate) == trust.new
