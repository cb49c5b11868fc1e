"""What is there, at the moment of a scrape: memory, a few cgroup files, no walk of anything."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import trio

from netdrivers.contract.encryption import Proof
from nodeagent.control.addresses import Addresses
from nodeagent.control.netinspect import host_link
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.streams import Streams
from nodeagent.control.system import VERSION
from nodeagent.control.volumes import Volumes
from nodeagent.control.volumeuse import spec
from nodeagent.errors import kind_of
from nodeagent.metrics.cluster import ClusterSample, PeerSample
from nodeagent.metrics.collectors import collect
from nodeagent.metrics.exposition import render
from nodeagent.metrics.logs import LogSample, ShipmentSample
from nodeagent.metrics.own import OwnMetrics
from nodeagent.metrics.ports import PortSample
from nodeagent.metrics.samples import (
    ContainerSample,
    NetworkSample,
    ReconcileSample,
    Snapshot,
    SubnetSample,
)
from nodeagent.metrics.volumes import VolumeCalls, VolumeSample
from nodeagent.model.container import ContainerRecord
from nodeagent.model.network import NetworkRecord
from nodeagent.model.volume import VolumeRecord

if TYPE_CHECKING:
    from nodeagent.control.health import Health
    from nodeagent.control.logs import LogKeeper
    from nodeagent.control.overlays import Overlays
    from nodeagent.control.shipping import Shipment

VOLUMES_TTL_S = 30.0  # sizes of volumes are measured at most that often: it is a walk on disk
VOLUMES_S = 2.5  # of a scrape for measuring; who is not reached comes first at the next; a guess


class Observed:
    """Fills the snapshot that /metrics shows, and knows whether the agent is ready."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        streams: Streams,
        volumes: Volumes,
        addresses: Addresses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._streams = streams
        self._volumes = volumes
        self._addresses = addresses
        self._clock = clock
        self._own = OwnMetrics()
        self._sizes: dict[str, tuple[float, VolumeSample]] = {}  # when taken, by name
        self._measuring = trio.Lock()
        self.is_ready = False
        self.health_of: Callable[[str], Health | None] = lambda _id: None
        self.probe_counts: Mapping[str, int] = {}
        self.is_paused: Callable[[str], bool] = lambda _id: False
        self.is_restarting: Callable[[str], bool] = lambda _id: False
        self.end_counts: Mapping[str, int] = {}
        self.conflicts_of: Callable[[str], Sequence[str]] = lambda _id: ()
        self.logs: LogKeeper | None = None
        self.shipments: Mapping[str, Shipment] = {}
        self.overlays: Overlays | None = None
        self.count_leaks: Callable[[], Mapping[str, int]] = dict

    def observe_call(self, method: str, outcome: str, seconds: float) -> None:
        """Note one RPC call."""
        self._own.observe_call(method, outcome, seconds)

    def observe_role(self, role: str, outcome: str) -> None:
        """Note in which role a call was made."""
        self._own.observe_role(role, outcome)

    def observe_meeting(self, outcome: str) -> None:
        """Note a client that came by TCP."""
        self._own.observe_meeting(outcome)

    def note_unaudited(self) -> None:
        """Note a change that the audit log has lost."""
        self._own.note_unaudited()

    def note_takeover(self, gap_s: float, sockets: int) -> None:
        """Note that this agent took over from a running one."""
        self._own.note_takeover(gap_s, sockets)

    def reasons(self) -> list[str]:
        """Why the agent is not ready; empty when it is."""
        return [] if self.is_ready else ["starting: containers and networks are being reconciled"]

    async def render(self) -> bytes:
        """The text of /metrics."""
        snapshot = await self._snapshot()
        return render(chain(collect(snapshot), self._own.collect()))

    async def _snapshot(self) -> Snapshot:
        inventory = self._parts.inventory
        records = list(inventory.containers.values())
        repairs, ports = self._sandboxes.repairs, self._sandboxes.ports
        return Snapshot(
            version=VERSION,
            runtime=self._runtime_name(),
            containers_by_state=Counter(self._state(record) for record in records),
            unadopted=sum(each.phase == "running" and bool(each.error) for each in records),
            containers=await self._containers(records),
            networks=self._networks(),
            volumes=await self._volume_samples(),
            volume_calls=self._volume_calls(),
            images=len(self._parts.images.ls()),
            image_store_bytes=self._parts.images.used_bytes(),
            dns_queries=self._parts.names.statistics(),
            dns_latency=self._parts.names.latency(),
            dns_upstreams=self._parts.names.upstreams(),
            dns_dropped=self._parts.names.dropped(),
            dns_cache_entries=self._parts.names.cache_entries(),
            ports=PortSample(
                published=ports.counts(), unheld=ports.unheld(), conflicts=ports.conflicts
            ),
            reconcile=ReconcileSample(
                runs=repairs.runs, failures=repairs.failures, repairs=repairs.ops
            ),
            logs=self._logs(),
            probes=self.probe_counts,
            ends=self.end_counts,
            leaks=self.count_leaks(),
            cluster=await self._cluster(),
        )

    async def _cluster(self) -> ClusterSample | None:
        if self.overlays is None or not self.overlays.is_active:
            return None
        status = await self.overlays.encryption()
        names = self.overlays.node_names()
        now, fence = self._parts.now(), self._volumes.use.fence
        return ClusterSample(
            leases=fence.count() if fence else 0,
            lease_margin_s=fence.margin_s() if fence else 0.0,
            lease_losses=fence.losses if fence else 0,
            lease_renewal_failures=fence.renewal_failures if fence else 0,
            nodes=Counter(self.overlays.node_states()),
            is_store_up=not self.overlays.problem,
            is_encryption_up=not status.problem,
            encryption_restarts=status.restarts,
            clear_refused=sum(status.came_clear.values()),
            clear_sent=sum(status.left_clear.values()),
            peers=[
                PeerSample(
                    id=names.get(key, (key, ""))[0],
                    node=names.get(key, ("", key))[1],
                    handshake_age_s=now - each.handshake_s if each.handshake_s else -1.0,
                    rx_bytes=each.rx_bytes,
                    tx_bytes=each.tx_bytes,
                    proof_age_s=_age(status.proofs.get(key)),
                )
                for key, each in status.peers.items()
            ],
            remotes={
                each.name: len(each.reach.remotes)
                for each in self._parts.inventory.networks.values()
                if each.reach is not None
            },
        )

    def _state(self, record: ContainerRecord) -> str:
        if record.phase == "running" and self.is_paused(record.id):
            return "paused"
        if record.phase == "exited" and self.is_restarting(record.id):
            return "restarting"
        return "created" if record.phase == "starting" else record.phase

    def _logs(self) -> LogSample:
        keeper, known = self.logs, self._parts.inventory.containers
        if keeper is None:
            return LogSample()
        return LogSample(
            size_bytes=keeper.bytes,
            budget_bytes=self._parts.settings.logs.budget_bytes,
            rotations=keeper.rotations,
            dropped=keeper.dropped,
            shipments=[
                ShipmentSample(
                    id=id_,
                    name=known.get(id_, each.record).name,  # it may be renamed
                    driver=each.record.log.driver,
                    is_failing=each.is_failing,
                    lines=each.lines,
                    lost=each.lost,
                    failures=each.failures,
                )
                for id_, each in self.shipments.items()
            ],
        )

    async def _containers(self, records: list[ContainerRecord]) -> list[ContainerSample]:
        """0.2 ms of small files each (2026-11): between two of them others have their turn."""
        samples = []
        for record in records:
            if record.phase == "running":
                samples.append(self._container(record))
                await trio.lowlevel.checkpoint()
        return samples

    def _container(self, record: ContainerRecord) -> ContainerSample:
        has_links = self._sandboxes.is_live(record.id) and record.endpoints
        try:
            usage = self._streams.usage(record)
            interfaces = self._parts.engine.counters(record.id) if has_links else {}
        except Exception as exc:  # it is coming, or going
            if not kind_of(exc) and not isinstance(exc, OSError):
                raise
            usage, interfaces = None, {}
        health = self.health_of(record.id)
        known = self._parts.inventory.networks
        sized = record.request.storage_size_bytes
        room = self._parts.roots.room(record.id) if sized else None
        return ContainerSample(
            id=record.id,
            name=record.name,
            usage=usage,
            storage_used_bytes=room.used_bytes if room else -1,
            storage_size_bytes=room.size_bytes if room else -1,
            interfaces=interfaces,
            health=health.status if health else "",
            networks={
                each.interface: known[id_].name
                for id_, each in record.endpoints.items()
                if id_ in known
            },
        )

    def _runtime_name(self) -> str:
        try:
            return self._parts.runtime.runtime_name()
        except Exception as exc:
            if not kind_of(exc):
                raise
            return ""

    def _networks(self) -> list[NetworkSample]:
        links = self._parts.engine.counters("")
        return [self._network(each, links) for each in self._parts.inventory.networks.values()]

    def _network(
        self, record: NetworkRecord, links: Mapping[str, Mapping[str, int]]
    ) -> NetworkSample:
        members = self._parts.inventory.members(record.id)
        subnets = []
        for subnet in record.subnets:
            used, free = self._addresses.count(record, subnet)
            subnets.append(SubnetSample(subnet=subnet.subnet, used=used, free=free))
        return NetworkSample(
            id=record.id,
            name=record.name,
            driver=record.driver,
            endpoints=len(members),
            ready=sum(self._sandboxes.is_ready(each.id) for each in members),
            subnets=tuple(subnets),
            link=links.get(host_link(self._parts, record), {}),
            conflicts=len(self.conflicts_of(record.id)),
        )

    async def _volume_samples(self) -> list[VolumeSample]:
        records = self._parts.inventory.volumes
        with trio.move_on_after(VOLUMES_S):
            async with self._measuring:  # two scrapes do not measure the same twice
                await self._measure(sorted(records.values(), key=self._taken_at))
        self._sizes = {name: found for name, found in self._sizes.items() if name in records}
        return [
            self._sizes[record.name][1] if record.name in self._sizes else _unknown(record)
            for record in records.values()
        ]

    def _taken_at(self, record: VolumeRecord) -> float:
        return self._sizes[record.name][0] if record.name in self._sizes else float("-inf")

    async def _measure(self, records: list[VolumeRecord]) -> None:
        for record in records:
            if self._clock() - self._taken_at(record) <= VOLUMES_TTL_S:
                return
            sample = await self._volume(record)
            self._sizes[record.name] = (self._clock(), sample)

    async def _volume(self, record: VolumeRecord) -> VolumeSample:
        usage, health = await self._volumes.look(record)
        return VolumeSample(
            name=record.name,
            driver=record.driver,
            used_bytes=usage.used_bytes,
            inodes=usage.inodes,
            limit_bytes=usage.limit_bytes,
            healthy=health.state == "healthy",
            mounts=len(self._parts.leases.book(record.name).leases),
            breaker=self._volumes.driver(record).state(spec(record)).breaker,
        )

    def _volume_calls(self) -> list[VolumeCalls]:
        return [
            VolumeCalls(
                driver=driver.name, operation=operation, result=result, calls=calls, seconds=seconds
            )
            for driver in self._parts.volume_drivers.all()
            for operation, result, calls, seconds in driver.timings()
        ]


def _unknown(record: VolumeRecord, *, healthy: bool = True) -> VolumeSample:
    return VolumeSample(name=record.name, driver=record.driver, used_bytes=-1, healthy=healthy)


def _age(proof: Proof | None) -> float:
    return trio.current_time() - proof.at_s if proof and proof.result == "sealed" else -1.0
