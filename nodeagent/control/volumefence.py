"""Volumes that several hosts mount: their leases in the cluster, and writers stopped in time.

The rule of time, with L = ``cluster.volume_lease_s``: others may have what a node held L after its
last renewal reached the store. The node counts from before it asked, on the boot clock, and its
watchdog stops the writers after L/2; who was told to stop and has not by 3/4 L is killed. The
watchdog is a process of its own, so that holds when the agent is dead, stopped or cut off.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

import msgspec
import trio

from nodeagent.control.cluster import Cluster
from nodeagent.control.parts import Parts
from nodeagent.control.times import build_time
from nodeagent.errors import Busy, Missing, Unavailable, kind_of
from nodeagent.model.container import ContainerRecord
from nodeagent.model.lease import Claim, Holder, Lease, say_who
from nodeagent.model.volume import ClusterLeaseView, LeaseBreak, VolumeRecord
from nodeagent.state.sharedleases import SharedLeases
from runtime.contract.fence import Fence, Ward
from voldrivers.contract import GuardedDriver

log = logging.getLogger(__name__)

STOP_SHARE: Final = 0.5  # of the lease: then the node's own writers are stopped
KILL_SHARE: Final = 0.25  # more: then those that did not stop are killed
RENEW_SHARE: Final = 1 / 8
NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs"})  # of the local driver's option


def is_shared(record: VolumeRecord, driver: GuardedDriver) -> bool:
    """Whether other hosts have the same bytes by this name. Pure."""
    by_type = record.driver == "local" and record.options.get("type") in NETWORK_TYPES
    return record.shared or by_type or driver.scope == "global"


class VolumeFence:
    """Takes and renews them; nothing of it does anything outside a cluster."""

    def __init__(self, parts: Parts, cluster: Cluster, fence: Fence, lease_s: float) -> None:
        self._parts = parts
        self._cluster = cluster
        self._fence = fence
        self._lease_s = lease_s
        self._session = 0
        self._wards: dict[tuple[str, str], Ward] = {}  # by container and volume
        self._told: set[tuple[str, str]] = set()  # whose writers were stopped, and it was told
        self._turn = trio.Lock()
        self.is_idle: Callable[[str], bool] = lambda _holder: False  # VolumeUse's
        self.note_paused: Callable[[str], None] = lambda _id: None  # these are Lifecycle's
        self.unpause: Callable[[str], Awaitable[None]] = parts.runtime.unpause
        self.losses = 0
        self.renewal_failures = 0

    # --- what is so ---------------------------------------------------------------------------

    def is_shared(self, record: VolumeRecord) -> bool:
        """Whether the volume's leases are the cluster's, if there is one."""
        return is_shared(record, self._parts.volume_drivers.of(record.driver))

    def _is_needed(self, claim: Claim) -> bool:
        record = self._parts.inventory.volumes.get(claim.volume)
        in_cluster = self._cluster.own is not None or self._cluster.place.is_there()
        if record is None or claim.sharing == "all":
            return False
        return in_cluster and self.is_shared(record)

    def epochs(self, container: str) -> dict[str, int]:
        """The epochs a container has its volumes in."""
        return {
            volume: ward.epoch for (id_, volume), ward in self._wards.items() if id_ == container
        }

    def check(self, container: str) -> None:
        """Right before a program starts. Unavailable: the time of a lease is over."""
        now_s = self._fence.now_s()
        for (id_, volume), ward in self._wards.items():
            if id_ == container and now_s >= ward.until_s:
                raise Unavailable("the lease of the volume was not renewed in time", name=volume)

    async def check_elsewhere(self, record: VolumeRecord) -> None:
        """Before bytes are removed, moved or replaced.

        Raises:
            Busy: another node has it; says which. Unavailable: that cannot be known now.
        """
        if not self._is_needed(Claim(volume=record.name, access="rw", sharing=record.sharing)):
            return
        own = self._cluster.own
        others = [
            lease
            for lease, is_live in await self._leases().read()
            if lease.volume == record.name and is_live and own and lease.node != own.node_id
        ]
        if others:
            who = ", ".join(map(say_who, others))
            raise Busy(f"the volume is in use: {who}", field="name", name=record.name)

    def held(self, volume: str) -> list[ClusterLeaseView]:
        """What this node has of a volume, as it knows it. No I/O."""
        return [self._own_view(ward) for ward in self._wards.values() if ward.volume == volume]

    def margin_s(self) -> float:
        """Seconds until the first writer here is stopped; the whole time if there is none."""
        now_s, whole = self._fence.now_s(), self._lease_s * STOP_SHARE
        return min((ward.until_s - now_s for ward in self._wards.values()), default=whole)

    def count(self) -> int:
        """Leases that this node holds."""
        return len(self._wards)

    # --- take and give back -------------------------------------------------------------------

    async def open(self) -> None:
        """At start: go on with what a former agent held."""
        book = await self._fence.read()
        self._session = book.session
        self._wards = {(ward.container, ward.volume): ward for ward in book.wards}
        now_s = self._fence.now_s()  # those may stand still, and are to go on
        self._told = {key for key, ward in self._wards.items() if now_s >= ward.until_s}

    async def take(self, container: ContainerRecord, claims: Sequence[Claim]) -> None:
        """Take those claims that are the cluster's, in one commit, before anything is mounted.

        Raises:
            Busy: somebody else has it; says who and where. Unavailable: the store does not answer.
        """
        needed = [each for each in claims if self._is_needed(each)]
        if not needed:
            return
        async with self._turn:
            await self._enter(needed)
            since_s = self._fence.now_s()
            with trio.move_on_after(self._lease_s * STOP_SHARE) as scope:
                leases = await self._take(container, needed)
            if scope.cancelled_caught:
                raise Unavailable("the cluster's store is too slow for leases of volumes")
            until_s = since_s + self._lease_s * STOP_SHARE
            for lease in leases:
                ward = self._ward(container.id, lease.volume, until_s, lease.epoch)
                self._wards[container.id, lease.volume] = ward
                self._told.discard((container.id, lease.volume))
            await self._write()
        for lease in leases:
            self._tell("lease-taken", lease.volume, container.id, epoch=str(lease.epoch))

    async def _take(self, container: ContainerRecord, claims: Sequence[Claim]) -> list[Lease]:
        before, since_s = self._session, self._fence.now_s()
        await self._have_session()
        if self._session != before:
            await self._keep_all(since_s)  # what was held in the former one is void
        own = self._cluster.identity
        holder = Holder(
            id=container.id, name=container.name, node=own.node_id, session=self._session,
            node_name=own.name,
        )  # fmt: skip
        return await self._leases().take(claims, holder, now=build_time(self._parts.now()))

    def _ward(self, container: str, volume: str, until_s: float, epoch: int) -> Ward:
        record = self._parts.inventory.volume(volume)
        return Ward(
            container=container, volume=volume, policy=record.on_lease_loss, until_s=until_s,
            grace_s=self._lease_s * KILL_SHARE, epoch=epoch,
        )  # fmt: skip

    def _leases(self) -> SharedLeases:
        if self._cluster.own is None:
            raise Unavailable(
                "the cluster that keeps the leases of volumes is not reached yet",
                reason=self._cluster.problem,
            )
        return SharedLeases(self._cluster.store)

    async def _enter(self, claims: Sequence[Claim]) -> None:
        """A worker asks a manager for the rights to a volume's leases, once."""
        self._leases()
        own, entered = self._cluster.identity, self._cluster.entered
        for claim in claims:
            key = f"volume/{claim.volume}"
            if own.role == "manager" or key in entered:
                continue
            managers = self._cluster.managers()
            if not managers:
                raise Unavailable("no manager of the cluster is up, so no volume can be leased")
            await self._cluster.ask_manager(managers[0], "cluster.enter", {"volume": claim.volume})
            entered.add(key)

    async def _have_session(self) -> None:
        """Renewed now, or a new one; what was held in a former one is held in it, or lost."""
        leases = self._leases()
        try:
            if self._session:
                await leases.renew(self._session)
                return
        except Missing:
            log.warning("the session of volume leases has ended", extra={"session": self._session})
        self._session = await leases.begin(self._cluster.identity.node_id, self._lease_s)

    async def leave(self, volume: str, container: str) -> None:
        """Give a lease back: the volume is not mounted any more. What fails is tried again."""
        if (container, volume) not in self._wards:
            return
        try:
            async with self._turn:
                if self._cluster.place.is_there():
                    await self._leases().drop(volume, container, now=build_time(self._parts.now()))
                self._wards.pop((container, volume), None)
                self._told.discard((container, volume))
                await self._write()
        except Exception as exc:
            if not kind_of(exc):
                raise
            log.warning("lease not given back", extra={"volume": volume, "error": str(exc)})
        else:
            self._tell("lease-given-back", volume, container)

    async def _write(self) -> None:
        node = self._cluster.own.node_id if self._cluster.own else ""
        await self._fence.write(self._session, node, list(self._wards.values()))

    # --- keep ---------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """For ever: renew, see what was lost, and give back what nobody needs."""
        while True:
            await self._step()
            await trio.sleep(self._lease_s * RENEW_SHARE)

    async def _step(self) -> None:
        try:
            for id_, volume in list(self._wards):
                if self.is_idle(id_) and not self._is_mounted(id_, volume):
                    await self.leave(volume, id_)
            with trio.fail_after(self._lease_s * STOP_SHARE):
                async with self._turn:
                    await self._renew()
        except trio.TooSlowError:
            self.renewal_failures += 1
            log.warning("leases of volumes not renewed: the store is too slow")
        except Exception as exc:
            if not kind_of(exc):
                raise
            self.renewal_failures += 1
            log.warning("leases of volumes not renewed", extra={"error": str(exc)})
        await self._note_losses()

    def _is_mounted(self, container: str, volume: str) -> bool:
        return any(each.volume == volume for each in self._parts.leases.held(container))

    async def _renew(self) -> None:
        if not self._wards:
            session, self._session = self._session, 0
            if session:
                await self._fence.write(0, "", ())
                await self._leases().end(session)
            return
        since_s = self._fence.now_s()
        await self._have_session()
        await self._keep_all(since_s)
        await self._write()

    async def _keep_all(self, since_s: float) -> None:
        until_s = since_s + self._lease_s * STOP_SHARE
        leases = self._leases()
        for key, ward in list(self._wards.items()):
            is_kept = not ward.is_lost and await leases.keep(ward.volume, key[0], self._session)
            if is_kept:
                self._wards[key] = msgspec.structs.replace(ward, until_s=until_s)
            else:
                self._wards[key] = msgspec.structs.replace(ward, until_s=since_s, is_lost=True)

    async def _note_losses(self) -> None:
        """Tell once whose writers the watchdog stops; those that have it again go on."""
        now_s = self._fence.now_s()
        for key, ward in list(self._wards.items()):
            is_over = now_s >= ward.until_s
            if is_over and key not in self._told:
                self._told.add(key)
                self.losses += 1
                self._tell(
                    "lease-lost", ward.volume, ward.container, epoch=str(ward.epoch),
                    does="kill" if ward.is_lost else ward.policy,
                    why="another may have it" if ward.is_lost else "it could not be renewed",
                )  # fmt: skip
                log.error("a volume's lease is lost", extra={"volume": ward.volume})
                if ward.policy == "pause" and not ward.is_lost:
                    self.note_paused(ward.container)
            elif not is_over and key in self._told:
                self._told.discard(key)
                await self._go_on(ward)

    async def _go_on(self, ward: Ward) -> None:
        """Nobody else had the volume meanwhile: a writer that stands still is let go on."""
        self._tell("lease-regained", ward.volume, ward.container, epoch=str(ward.epoch))
        if ward.policy != "pause" or not self._fence.is_frozen(ward.container):
            return
        self.note_paused(ward.container)
        try:
            await self.unpause(ward.container)
        except Exception as exc:
            if not kind_of(exc):
                raise
            log.warning("not thawed", extra={"id": ward.container[:12], "error": str(exc)})

    def _tell(self, action: str, volume: str, container: str, **attributes: str) -> None:
        self._parts.events.publish(
            "volume", action, volume, volume, container=container, **attributes
        )

    # --- look and break -----------------------------------------------------------------------

    async def ls(self) -> list[ClusterLeaseView]:
        """Every lease of the cluster, from its store."""
        own = self._cluster.identity.node_id
        views = []
        for lease, is_live in await self._leases().read():
            ward = self._wards.get((lease.holder, lease.volume)) if lease.node == own else None
            views.append(
                ClusterLeaseView(
                    volume=lease.volume, holder=lease.holder, container=lease.name,
                    node=lease.node_name or lease.node, epoch=lease.epoch, access=lease.access,
                    taken_at=lease.taken, is_self=lease.node == own,
                    status=self._status(ward) if ward and is_live
                    else "held" if is_live else "expired",
                    renew_within_s=self._left_s(ward) if ward else -1.0,
                )
            )  # fmt: skip
        return sorted(views, key=lambda each: (each.volume, each.epoch))

    def _left_s(self, ward: Ward) -> float:
        return round(max(0.0, ward.until_s - self._fence.now_s()), 1)

    def _status(self, ward: Ward) -> str:
        return "held" if self._fence.now_s() < ward.until_s else "stopping"

    def _own_view(self, ward: Ward) -> ClusterLeaseView:
        record = self._parts.inventory.containers.get(ward.container)
        own = self._cluster.own
        local = self._parts.leases.book(ward.volume).leases
        mine = next((each for each in local if each.holder == ward.container), None)
        return ClusterLeaseView(
            volume=ward.volume, holder=ward.container, container=record.name if record else "",
            node=own.name if own else "", epoch=ward.epoch, access=mine.access if mine else "",
            taken_at=mine.taken if mine else "", status=self._status(ward), is_self=True,
            renew_within_s=self._left_s(ward),
        )  # fmt: skip

    async def break_(self, asked: LeaseBreak) -> list[str]:
        """Take a volume from a node; the containers that had it.

        Raises:
            Missing: the node has none. Busy: its session has not ended, and not ``force``.
        """
        leases = self._leases()
        found = [
            (lease, is_live)
            for lease, is_live in await leases.read()
            if lease.volume == asked.name
            and (lease.node.startswith(asked.node) or lease.node_name == asked.node)
        ]
        if not found:
            raise Missing("the node has no lease of this volume", name=asked.name, node=asked.node)
        nodes = {lease.node for lease, _ in found}
        if len(nodes) > 1:
            raise Busy("more than one node has this name; give the id", field="node", by=nodes)
        if any(is_live for _, is_live in found) and not asked.force:
            raise Busy(
                "the node may still write: its lease ends by itself when it is not renewed for"
                f" {self._lease_s:.0f} s; --force only if the node is certainly off",
                field="force", node=asked.node,
            )  # fmt: skip
        await self._enter([Claim(volume=asked.name, access="rw")])
        taken = await leases.break_(asked.name, nodes.pop())
        for lease in taken:
            self._tell("lease-broken", lease.volume, lease.holder, node=lease.node)
        return [lease.name or lease.holder for lease in taken]
