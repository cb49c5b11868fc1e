"""The network side of running containers: sandboxes, names and held ports, kept in step.

``live`` says whose sandbox should exist. Every change of it goes: memory, then kernel, then names.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec
import trio

from netdrivers.contract.engine import Report
from netdrivers.contract.names import DnsTable
from netdrivers.contract.specs import Desired, Scope
from nodeagent.control.desired import build_desired, has_sandbox
from nodeagent.control.directory import Directory
from nodeagent.control.gate import Gate
from nodeagent.control.names import NameRow, name_rows
from nodeagent.control.parts import Parts
from nodeagent.control.ports import Ports
from nodeagent.control.resolvers import Resolvers
from nodeagent.control.wanted import Wanted
from nodeagent.model.container import ContainerRecord
from nodeagent.model.network import NetworkRecord

log = logging.getLogger(__name__)

UNDO_S = 10.0  # for taking a sandbox back; a guess


@dataclass(slots=True)
class Repairs:
    """Counts for metrics."""

    runs: int = 0
    failures: int = 0
    ops: Counter[str] = field(default_factory=Counter)  # by kind of object


async def _prepare_nothing(_network: NetworkRecord) -> None:
    """Outside a cluster there are no such networks."""
    await trio.lowlevel.checkpoint()


class Sandboxes:
    """Opens and closes sandboxes, and re-applies what should be there."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.ports = Ports(parts)
        self.gate = Gate()
        self._wanted = Wanted()
        self.repairs = Repairs()
        self._live: set[str] = set()
        self._named: set[str] = set()  # whose names are answered
        self._unready: set[str] = set()
        self._present: set[str] = set()  # networks of several hosts that are here
        self._entered: Counter[str] = Counter()  # of those, by how many containers just now
        self._directory = Directory()
        self._resolvers = Resolvers(parts.settings)
        # makes a network of several hosts ready for its first endpoint here
        self.prepare: Callable[[NetworkRecord], Awaitable[None]] = _prepare_nothing
        self.told: Callable[[], None] = lambda: None  # of every change of endpoints and names

    def is_live(self, container_id: str) -> bool:
        """Whether the container's sandbox should exist now."""
        return container_id in self._live

    def live(self) -> Collection[str]:
        """Containers whose sandbox should exist now."""
        return self._live

    def _records(self, ids: set[str]) -> list[ContainerRecord]:
        known = self._parts.inventory.containers
        return [known[id_] for id_ in ids if id_ in known]

    # --- one sandbox ------------------------------------------------------------------------

    async def open(self, record: ContainerRecord) -> str:
        """Make the sandbox with its endpoints and name server; its path, "" if it has none.

        The record (with ports bound) must be in the inventory already. Taken back on failure.
        """
        if not has_sandbox(record):
            return ""
        try:
            async with self._entering(record), self.gate.step(record.id):
                self._live.add(record.id)  # not before: a repair would take it for drift
                path = await self._parts.engine.make_sandbox(record.id)
                dns_port = 0
                if record.endpoints:
                    dns_port = self._parts.names.open(record.id, path, record.dns_port)
                self._set_dns_port(record.id, dns_port)
                await self._apply(record.id)
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self.close(record)
            raise
        return str(path)

    def _set_dns_port(self, container_id: str, dns_port: int) -> None:
        """The record in memory follows at once; the next commit of the caller makes it durable."""
        containers = self._parts.inventory.containers
        record = containers[container_id]
        if record.dns_port != dns_port:
            containers[container_id] = msgspec.structs.replace(record, dns_port=dns_port)

    async def _apply(self, container_id: str) -> Report:
        scope = Scope(sandboxes=frozenset({container_id}))
        return await self._parts.engine.apply(self.wanted_of(container_id), scope)

    async def close(self, record: ContainerRecord) -> None:
        """Remove the sandbox and everything that led to it. Idempotent."""
        self.hide(record.id)
        if record.id in self._live:
            self._live.discard(record.id)
            self._tell_sharers(record)
        if has_sandbox(record):
            self._parts.names.close(record.id)
            async with self.gate.step(record.id):
                await self._apply(record.id)
        self.ports.release(record.id)
        await self._let_go(record.endpoints)

    def _tell_sharers(self, owner: ContainerRecord) -> None:
        """Who shares the network keeps the namespace, of which we have taken all else away."""
        for each in self._parts.inventory.containers.values():
            if each.network_mode == f"container:{owner.id}" and each.phase == "running":
                log.warning(
                    "a container's shared network ended; it has another one after a restart",
                    extra={"id": each.id[:12], "owner": owner.name},
                )
                self._parts.events.tell(each, "network-lost", owner=owner.name)

    async def refresh(self, record: ContainerRecord) -> None:
        """Make a live sandbox agree with its changed endpoints, and tell the names."""
        if record.id not in self._live:
            self.publish_names()
            return
        if record.endpoints and not record.dns_port:
            path = self._parts.settings.run / "netns" / record.id
            self._set_dns_port(record.id, self._parts.names.open(record.id, path, 0))
        async with self._entering(record), self.gate.step(record.id):
            await self._apply(record.id)
        await self._let_go(self._parts.inventory.networks)
        self.publish_names()

    # --- networks of several hosts: here as long as an endpoint is ------------------------------

    @asynccontextmanager
    async def _entering(self, record: ContainerRecord) -> AsyncIterator[None]:
        """Have the networks here before the container is; nobody takes them away meanwhile."""
        networks = self._parts.inventory.networks
        shared = [id_ for id_ in record.endpoints if id_ in networks and networks[id_].shared]
        self._entered.update(shared)
        try:
            for id_ in shared:
                if id_ not in self._present:
                    await self.prepare(networks[id_])
                    self._present.add(id_)
                    await self.apply_network(id_)
            yield
        finally:
            self._entered.subtract(shared)

    async def _let_go(self, ids: Iterable[str]) -> None:
        for id_ in [each for each in ids if each in self._present and not self.is_used(each)]:
            self._present.discard(id_)
            await self.apply_network(id_)

    def is_used(self, network_id: str) -> bool:
        """Whether a live container has an endpoint on the network."""
        live = (network_id in each.endpoints for each in self._records(self._live))
        return self._entered[network_id] > 0 or any(live)

    def is_present(self, network_id: str) -> bool:
        """Whether a network of several hosts is in this host's kernel."""
        return network_id in self._present

    def _here(self) -> dict[str, NetworkRecord]:
        """Networks that should be in the kernel."""
        networks = self._parts.inventory.networks
        return {
            id_: each
            for id_, each in networks.items()
            if each.shared is None or id_ in self._present
        }

    # --- names ------------------------------------------------------------------------------

    def show(self, container_id: str) -> None:
        """From now on the container's names are answered."""
        self._named.add(container_id)
        self.publish_names()

    def hide(self, container_id: str) -> None:
        """From now on they are not; when they are again, it is taken for ready until told."""
        self._unready.discard(container_id)
        if container_id in self._named:
            self._named.discard(container_id)
            self.publish_names()

    def is_ready(self, container_id: str) -> bool:
        """Whether its names lead to it."""
        return container_id in self._named and container_id not in self._unready

    def set_ready(self, container_id: str, ready: bool) -> None:
        """Whether its names lead to it, besides ``all.NAME``; so they do unless told otherwise."""
        if ready == (container_id not in self._unready):
            return
        if ready:
            self._unready.discard(container_id)
        else:
            self._unready.add(container_id)
        self.publish_names()

    def publish_names(self) -> None:
        """Let the name server know of every change."""
        inventory = self._parts.inventory
        table = self._directory.update(
            inventory.networks,
            inventory.containers,
            self._named,
            self._unready,
            self._resolvers.upstreams,
        )
        self._parts.names.set_table(table)
        self.told()

    @property
    def names(self) -> DnsTable:
        """What the name server answers from."""
        return self._directory.table

    def name_rows(self, network_id: str) -> list[NameRow]:
        """What the names of a network say now."""
        zone = self._directory.table.zones.get(network_id)
        return name_rows(zone) if zone else []

    async def follow_resolvers(self) -> NoReturn:
        """Let names go to the host's servers, also when those change."""
        while True:
            await self._resolvers.wait_change()
            log.info("the host asks other name servers", extra={"to": self._resolvers.upstreams})
            self.publish_names()

    # --- everything -------------------------------------------------------------------------

    async def adopt(self, record: ContainerRecord) -> None:
        """Take over the sandbox of a container that ran on without us."""
        self._live.add(record.id)
        if not has_sandbox(record):
            return
        self._named.add(record.id)
        networks = self._parts.inventory.networks
        self._present |= {
            id_ for id_ in record.endpoints if id_ in networks and networks[id_].shared
        }
        await self.ports.hold_again(record)
        if record.endpoints:
            async with self.gate.step(record.id):
                path = await self._parts.engine.make_sandbox(record.id)
            port = self._parts.names.open(record.id, path, record.dns_port)
            self._set_dns_port(record.id, port)

    def wanted(self) -> Desired:
        """All that the kernel should hold."""
        return self._wanted.build(self._here(), self._records(self._live))

    def wanted_of(self, owner: str) -> Desired:
        """The same of one network or container: its cost is that of one, not of all."""
        live = self._records({owner} & self._live)
        networks = self._here()
        ids = {owner, *(id_ for each in live for id_ in each.endpoints)}
        return build_desired({id_: networks[id_] for id_ in ids if id_ in networks}, live)

    async def apply_network(self, network_id: str) -> Report:
        """Make or remove one network, as its record says."""
        async with self.gate.step(network_id):
            scope = Scope(networks=frozenset({network_id}))
            return await self._parts.engine.apply(self.wanted_of(network_id), scope)
