"""Keeps this host's part of the cluster's networks as it should be, and tells the others of it.

A loop that is woken by anything and looks at everything: which networks have endpoints here, what
of them the others should know, and what the others have told. Wake-ups carry no data.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Final, NoReturn

import msgspec
import trio

from netdrivers.contract.encryption import EncryptionStatus, PeerSpec, Tunnel
from nodeagent.cluster.mirror import Mirror
from nodeagent.control.addresses import Addresses
from nodeagent.control.cluster import Cluster
from nodeagent.control.clusternets import ClusterNetworks, build_check
from nodeagent.control.names import build_services, endpoint_names, host_name
from nodeagent.control.networks import SEALED_BYTES
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.control.wakes import Wakes
from nodeagent.errors import Unavailable, kind_of
from nodeagent.model.cluster import EndpointRow, NodeSelf
from nodeagent.model.network import NetworkRecord, PeerView, Reach, RemoteEndpoint
from nodeagent.state.store import Delete, Put, SharedStore

log = logging.getLogger(__name__)

PERIOD_S: Final = 10.0  # a look at everything even if nobody told of a change
AGAIN_S: Final = 0.5  # after one that failed
READY_S: Final = 5.0  # for what the others have told to be read, before an endpoint begins here
OPS: Final = 500  # of one commit
MTU_MIN: Final = 1280


@dataclass(slots=True)
class _Entered:
    """A network with endpoints here: what is known of it, and the task that follows it."""

    mirror: Mirror
    store: SharedStore
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Overlays:
    """One for the agent; without a cluster it does nothing."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        addresses: Addresses,
        cluster: Cluster,
        networks: ClusterNetworks,
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._addresses = addresses
        self._cluster = cluster
        self._networks = networks
        self._entered: dict[str, _Entered] = {}
        self._wakes = Wakes()
        self._nursery: trio.Nursery | None = None
        self._turn = trio.Lock()
        self._sought: frozenset[Tunnel] = frozenset()  # of which clear packets are counted

    def wake(self) -> None:
        """Look again soon."""
        self._wakes.wake()

    async def run(self) -> NoReturn:
        """Keep it so for ever, through any failure."""
        async with trio.open_nursery() as self._nursery:
            while True:
                try:
                    await (self._step() if self.is_active else self._hold())
                except Exception as exc:
                    if not kind_of(exc):
                        raise
                    log.warning("the cluster's networks wait", extra={"error": str(exc)})
                    await trio.sleep(AGAIN_S)
                    self.wake()
                await self._wakes.wait(PERIOD_S)

    # --- how it is -------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether this agent takes part in a cluster."""
        return self._cluster.active.is_set()

    @property
    def problem(self) -> str:
        """Why the cluster's store takes no changes; "" if it does."""
        return self._cluster.problem

    async def encryption(self) -> EncryptionStatus:
        """The encrypted way to the others."""
        return await self._cluster.encryption.status()

    def node_states(self) -> list[str]:
        """``ready`` or ``down`` of each node."""
        alive = self._cluster.alive()
        return ["ready" if id_ in alive else "down" for id_ in self._cluster.specs()]

    def node_names(self) -> dict[str, tuple[str, str]]:
        """Id and name of nodes by their public key."""
        specs = self._cluster.specs()
        return {
            each.key: (id_, specs[id_].name)
            for id_, each in self._cluster.selves().items()
            if each.key and id_ in specs
        }

    async def peers(self, record: NetworkRecord) -> list[PeerView]:
        """The other hosts of a network, and how the way to each of them is."""
        if record.reach is None or record.shared is None or not self.is_active:
            return []
        status = await self.encryption() if record.shared.sealed else None
        count = Counter(each.vtep for each in record.reach.remotes)
        specs, now = self._cluster.specs(), self._parts.now()
        views = []
        for id_, node in self._cluster.selves().items():
            vtep = self._vtep_of(node, record)
            if not count[vtep] or id_ not in specs:
                continue
            seen = status.peers.get(node.key) if status else None
            proof = status.proofs.get(node.key) if status else None
            views.append(
                PeerView(
                    name=specs[id_].name, node_id=id_, address=node.address, vtep=vtep,
                    endpoints=count[vtep], encrypted=status is not None,
                    handshake_age=now - seen.handshake_s if seen and seen.handshake_s else -1.0,
                    received_bytes=seen.rx_bytes if seen else 0,
                    sent_bytes=seen.tx_bytes if seen else 0,
                    proof=proof.result if proof else "",
                    proof_age=trio.current_time() - proof.at_s if proof else -1.0,
                )
            )  # fmt: skip
        return sorted(views, key=lambda each: (each.name, each.node_id))

    async def seen_clear(self, record: NetworkRecord) -> tuple[int, int]:
        """Packets of an encrypted network that came in clear, and that left so."""
        if record.shared is None or not record.shared.sealed or not self.is_active:
            return 0, 0
        status, vni = await self.encryption(), record.shared.vni
        return status.came_clear.get(vni, 0), status.left_clear.get(vni, 0)

    # --- keeping it so ---------------------------------------------------------------------------

    async def prepare(self, network: NetworkRecord) -> None:
        """Before the first endpoint here: rights, what the others have told, the encrypted way.

        The store may be silent: then what was known last is gone on with.

        Raises:
            Unavailable: the network is encrypted, and there is no way to encrypt.
        """
        async with self._turn:
            if self._cluster.own is not None:
                try:
                    await self._enter(network.id)
                except Unavailable as exc:
                    log.warning("joining a network with what was known", extra={"why": str(exc)})
            await self._look_for_clear()
            await self._seal([network])
            await self._reach(network.id)

    async def _hold(self) -> None:
        """The store has not spoken yet: the encrypted way goes on as the agent before had it."""
        if self._cluster.own is not None:
            async with self._turn:
                await self._seal(self._here().values())

    async def _step(self) -> None:
        async with self._turn:
            gone = await self._networks.sync()
            await self._look_for_clear()
            here = self._here()
            await self._seal(here.values())
            for id_ in here:
                await self._enter(id_)
            for id_ in here:
                await self._reach(id_)
            await self._publish()
            for id_ in [each for each in self._entered if each not in here]:
                self._entered.pop(id_).scope.cancel()
            await self._forget(gone)
        await self._tidy()

    def _here(self) -> dict[str, NetworkRecord]:
        networks = self._parts.inventory.networks
        return {
            id_: each
            for id_, each in networks.items()
            if each.shared and self._sandboxes.is_used(id_)
        }

    async def _forget(self, gone: list[str]) -> None:
        """Networks that the cluster has no more; one with members here stays until they leave."""
        inventory = self._parts.inventory
        for id_ in gone:
            record = inventory.networks.get(id_)
            if record is not None and not inventory.members(id_):
                await inventory.delete(record)
                self._sandboxes.publish_names()
                self._parts.events.publish("network", "destroy", id_, record.name)

    # --- what the others tell --------------------------------------------------------------------

    async def _enter(self, id_: str) -> None:
        store, before = self._cluster.store, self._entered.get(id_)
        is_followed = (
            before is not None and before.store is store and self._networks.has_entered(id_)
        )
        if self._nursery is None or is_followed:
            return
        if before is not None:  # of a cluster that this agent has left since, or of another role
            self._entered.pop(id_).scope.cancel()
        await self._networks.enter(id_)
        check = build_check(self._parts.inventory.networks[id_])
        mirror = Mirror(store, f"ep/{id_}/", self.wake, check)
        entered = self._entered[id_] = _Entered(mirror, store)
        self._nursery.start_soon(self._follow, entered)
        with trio.move_on_after(READY_S):
            await mirror.synced.wait()

    @staticmethod
    async def _follow(entered: _Entered) -> None:
        with entered.scope:
            await entered.mirror.run()

    async def _reach(self, id_: str) -> None:
        """What is known now of the other hosts, into the record and the kernel."""
        record = self._parts.inventory.networks.get(id_)
        own = self._cluster.own
        if record is None or own is None or record.shared is None:
            return
        before = record.reach or Reach()
        reach = Reach(
            vtep=await self._vtep(own.address, sealed=record.shared.sealed) or before.vtep,
            remotes=self._remotes(id_, own.node_id, record)
            if self._is_known(id_)
            else before.remotes,
        )
        if reach == record.reach:
            return
        await self._parts.inventory.put(msgspec.structs.replace(record, reach=reach))
        if self._sandboxes.is_present(id_):
            await self._sandboxes.apply_network(id_)
        self._sandboxes.publish_names()

    def _is_known(self, id_: str) -> bool:
        return id_ in self._entered and self._entered[id_].mirror.synced.is_set()

    async def _vtep(self, address: str, *, sealed: bool) -> str:
        if not sealed:
            return address
        return str(self._parts.engine.sealed_address(await self._cluster.encryption.key()))

    def _remotes(self, id_: str, own: str, record: NetworkRecord) -> list[RemoteEndpoint]:
        nodes, alive = self._cluster.selves(), self._cluster.alive()
        found = []
        for key, row in self._entered[id_].mirror.decoded(EndpointRow).items():
            node_id = key.partition("/")[0]
            node = nodes.get(node_id)
            if node_id == own or node is None:
                continue
            if vtep := self._vtep_of(node, record):
                found.append(
                    RemoteEndpoint(
                        mac=row.mac, addresses=row.addresses, vtep=vtep, container=row.container,
                        names=row.names, services=row.services,
                        ready=row.ready and node_id in alive,
                    )
                )  # fmt: skip
        return sorted(found, key=lambda each: (each.container, each.mac))

    def _vtep_of(self, node: NodeSelf, record: NetworkRecord) -> str:
        if record.shared is None or not record.shared.sealed:
            return node.address
        return str(self._parts.engine.sealed_address(node.key)) if node.key else ""

    # --- the encrypted way -----------------------------------------------------------------------

    async def _seal(self, networks: Iterable[NetworkRecord]) -> None:
        if not any(each.shared and each.shared.sealed for each in networks):
            return
        mtu = self._parts.settings.mtu_bytes or await self._parts.engine.uplink_mtu() or 1500
        await self._cluster.encryption.apply(
            self._peers(), mtu_bytes=max(MTU_MIN, mtu - SEALED_BYTES)
        )

    async def _look_for_clear(self) -> None:
        """Count what this host sees in clear of any encrypted network, also of those not here.

        Before a network begins here: a number that was an encrypted one's may be a clear one's now.
        """
        own, networks = self._cluster.own, self._parts.inventory.networks.values()
        shared = [each.shared for each in networks if each.shared and each.shared.sealed]
        tunnels = frozenset(Tunnel(port=each.port, vni=each.vni) for each in shared)
        if own is not None and tunnels != self._sought:
            await self._cluster.encryption.look_for([ip_address(own.address)], tunnels)
            self._sought = tunnels

    def _peers(self) -> dict[str, PeerSpec] | None:
        """The other hosts by key; None as long as nobody has said who they are."""
        own = self._cluster.own
        if own is None or not self._cluster.active.is_set():
            return None
        return {
            node.key: PeerSpec(
                key=node.key, host=ip_address(node.address), port=node.wireguard_port
            )
            for id_, node in self._cluster.selves().items()
            if node.key and id_ != own.node_id
        }

    # --- what we tell ----------------------------------------------------------------------------

    async def _publish(self) -> None:
        own = self._cluster.identity.node_id
        for id_, entered in self._entered.items():
            if not entered.mirror.synced.is_set():
                continue
            want = {f"{own}/{id_}": msgspec.msgpack.encode(row) for id_, row in self._rows(id_)}
            have = {
                key: row.value
                for key, row in entered.mirror.rows.items()
                if key.startswith(f"{own}/")
            }
            ops: list[Put | Delete] = [
                Put(f"ep/{id_}/{key}", value)
                for key, value in want.items()
                if have.get(key) != value
            ]
            ops += [Delete(f"ep/{id_}/{key}") for key in have if key not in want]
            for at in range(0, len(ops), OPS):
                await self._cluster.store.commit(*ops[at : at + OPS])

    def _rows(self, id_: str) -> list[tuple[str, EndpointRow]]:
        """Endpoints of containers that live here by their ids, as the others need them."""
        rows = []
        for record in self._parts.inventory.members(id_):
            if not self._sandboxes.is_live(record.id):
                continue
            endpoint = record.endpoints[id_]
            row = EndpointRow(
                container=host_name(record), mac=endpoint.mac,
                addresses=[str(ip_interface(text).ip) for text in endpoint.addresses],
                names=endpoint_names(record, endpoint), services=build_services(record),
                ready=self._sandboxes.is_ready(record.id),
            )  # fmt: skip
            rows.append((endpoint.id, row))
        return rows

    async def _tidy(self) -> None:
        """Give back what nobody here has any more: addresses, and rows of a former life."""
        own, store = self._cluster.identity.node_id, self._cluster.store
        doomed: list[str] = []
        for id_, record in list(self._parts.inventory.networks.items()):
            if record.shared is None or not self._networks.has_entered(id_):
                continue
            doomed += await self._stale_addresses(id_, own)
            if id_ not in self._entered:
                doomed += [row.key for row in await store.read(f"ep/{id_}/{own}/")]
        for at in range(0, len(doomed), OPS):
            await store.commit(*(Delete(key) for key in doomed[at : at + OPS]))

    async def _stale_addresses(self, id_: str, own: str) -> list[str]:
        """Claims of this node that no container has, and none is about to have."""
        claims = await self._networks.claims(id_)  # first: what is claimed later is not in it
        held = {
            str(ip_interface(text).ip)
            for member in self._parts.inventory.members(id_)
            for text in member.endpoints[id_].addresses
        }
        return [
            f"addr/{id_}/{address}"
            for address, claim in claims.items()
            if claim.node_id == own
            and address not in held
            and not self._addresses.is_pending(id_, ip_address(address))
        ]
