"""``network inspect``: what a network should be, what is in the kernel, what its names say."""

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from netdrivers.contract.specs import Scope
from netdrivers.plan.objects import Bridge, DnsRedirect, Macvlan, Sandbox
from nodeagent.control.addresses import Addresses
from nodeagent.control.conflicts import Conflicts
from nodeagent.control.desired import build_desired, endpoint_specs, ports_text, shown_port
from nodeagent.control.names import endpoint_names
from nodeagent.control.netviews import Counters, Look, Member, network_view
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.errors import kind_of
from nodeagent.model.container import BoundPort, ContainerRecord
from nodeagent.model.network import NetworkRecord, NetworkView, PeerView

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def _nobody(_network: NetworkRecord) -> list[PeerView]:
    return []


async def _nothing(_network: NetworkRecord) -> tuple[int, int]:
    return 0, 0


class NetworkInspector:
    """Reads; changes nothing."""

    def __init__(
        self, parts: Parts, sandboxes: Sandboxes, addresses: Addresses, conflicts: Conflicts
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._addresses = addresses
        self._conflicts = conflicts
        self.peers_of: Callable[[NetworkRecord], Awaitable[list[PeerView]]] = _nobody
        self.clear_of: Callable[[NetworkRecord], Awaitable[tuple[int, int]]] = _nothing

    async def inspect(self, names: list[str]) -> list[NetworkView]:
        """All about networks, in the order asked for."""
        found = [self._parts.inventory.network(name) for name in names]
        return [await self._view(record) for record in found]

    async def _view(self, record: NetworkRecord) -> NetworkView:
        members = [
            each
            for each in self._parts.inventory.members(record.id)
            if self._sandboxes.is_live(each.id)
        ]
        look = await self._look(record, members)
        look = replace(look, conflicts=self._conflicts.of(record.id))
        view = network_view(
            record,
            [self._member(each, record) for each in members],
            [self._addresses.count(record, subnet) for subnet in record.subnets],
            look,
            self._sandboxes.name_rows(record.id),
        )
        refused, sent = await self.clear_of(record)
        peers = await self.peers_of(record)
        return msgspec.structs.replace(view, peers=peers, clear_refused=refused, clear_sent=sent)

    def _member(self, member: ContainerRecord, network: NetworkRecord) -> Member:
        return Member(
            record=member,
            names=endpoint_names(member, member.endpoints[network.id]),
            is_ready=self._sandboxes.is_ready(member.id),
            ports=ports_text(self._ports(member, network)),
        )

    def _ports(self, member: ContainerRecord, network: NetworkRecord) -> list[BoundPort]:
        specs = endpoint_specs(member, self._parts.inventory.networks)
        served = [each for each in specs if each.network_id == network.id]
        return [shown_port(port) for each in served for port in each.ports]

    async def _look(self, record: NetworkRecord, members: list[ContainerRecord]) -> Look:
        if record.shared and not self._sandboxes.is_present(record.id):
            return Look(objects=(), ops=(), counters={})  # it has no container here
        desired = build_desired(self._parts.inventory.networks, members)
        ids = frozenset(each.id for each in members)
        scope = Scope(networks=frozenset({record.id}), sandboxes=ids)
        own = {id_: each for id_, each in desired.endpoints.items() if each.network_id == record.id}
        objects = [
            obj
            for obj in self._parts.engine.objects(replace(desired, endpoints=own), scope)
            if not isinstance(obj, Sandbox | DnsRedirect)  # the containers', not the network's
        ]
        counters = {id_: self._counters(id_) for id_ in ("", *ids)}
        try:
            ops = await self._parts.engine.plan(desired, scope)
        except Exception as exc:
            if not kind_of(exc):
                raise
            return Look(objects=objects, ops=None, problem=str(exc), counters=counters)
        keys = {obj.key for obj in objects}
        ops = [op for op in ops if op.obj.key in keys or op.obj.owner == record.id]
        return Look(objects=objects, ops=ops, counters=counters)

    def _counters(self, sandbox_id: str) -> Counters:
        try:
            return self._parts.engine.counters(sandbox_id)
        except Exception as exc:  # it is coming, or going
            if not kind_of(exc):
                raise
            return {}


def host_link(parts: Parts, record: NetworkRecord) -> str:
    """The network's link in the agent's namespace, "" without one."""
    desired = build_desired({record.id: record}, [])
    objects = parts.engine.objects(desired, Scope(networks=frozenset({record.id})))
    return next((each.name for each in objects if isinstance(each, Bridge | Macvlan)), "")
