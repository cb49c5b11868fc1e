"""The network side of running containers: sandboxes, names and held ports, kept in step.

``live`` says whose sandbox should exist. Every change of it goes: memory, then kernel, then names.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec
import trio

from netdrivers.contract import Desired, DnsTable, Report, Scope
from netdrivers.plan.render import render_op
from nodeagent.control.desired import build_desired, has_sandbox
from nodeagent.control.directory import Directory
from nodeagent.control.names import NameRow, name_rows
from nodeagent.control.parts import Parts
from nodeagent.control.ports import Ports
from nodeagent.control.resolvers import Resolvers
from nodeagent.errors import kind_of
from nodeagent.model.container import ContainerRecord

log = logging.getLogger(__name__)

UNDO_S = 10.0  # for taking a sandbox back; a guess


class _Gate:
    """Many steps of single objects at once, or one pass over everything."""

    def __init__(self) -> None:
        self._changed = trio.Condition()
        self._steps = 0
        self._whole = False
        self._waiting = 0  # passes over everything that wait; no new step overtakes them

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        async with self._changed:
            while self._whole or self._waiting:
                await self._changed.wait()
            self._steps += 1
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._steps -= 1
                    self._changed.notify_all()

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[None]:
        async with self._changed:
            self._waiting += 1
            try:
                while self._whole or self._steps:
                    await self._changed.wait()
                self._whole = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._whole = False
                    self._changed.notify_all()


@dataclass(slots=True)
class Repairs:
    """Counts for metrics."""

    runs: int = 0
    failures: int = 0
    ops: dict[str, int] = field(default_factory=dict)


class Sandboxes:
    """Opens and closes sandboxes, and re-applies what should be there."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.ports = Ports(parts)
        self._gate = _Gate()
        self._live: set[str] = set()
        self._named: dict[str, None] = {}  # whose names are answered, in order of coming
        self._unready: set[str] = set()
        self._directory = Directory()
        self._resolvers = Resolvers(parts.settings)
        self.repairs = Repairs()

    def is_live(self, container_id: str) -> bool:
        """Whether the container's sandbox should exist now."""
        return container_id in self._live

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
            async with self._gate.step():
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
        """Only what is in scope is built: the cost is that of one container, not of all."""
        live = self._records({container_id} & self._live)
        networks = self._parts.inventory.networks
        own = {id_: networks[id_] for each in live for id_ in each.endpoints if id_ in networks}
        scope = Scope(sandboxes=frozenset({container_id}))
        return await self._parts.engine.apply(build_desired(own, live), scope)

    async def close(self, record: ContainerRecord) -> None:
        """Remove the sandbox and everything that led to it. Idempotent."""
        self.hide(record.id)
        if record.id in self._live:
            self._live.discard(record.id)
            self._tell_sharers(record)
        if has_sandbox(record):
            self._parts.names.close(record.id)
            async with self._gate.step():
                await self._apply(record.id)
        self.ports.release(record.id)

    def _tell_sharers(self, owner: ContainerRecord) -> None:
        """Who shares the network keeps the namespace, of which we have taken all else away."""
        for each in self._parts.inventory.containers.values():
            if each.network_mode == f"container:{owner.id}" and each.phase == "running":
                log.warning(
                    "a container's shared network ended; it has another one after a restart",
                    extra={"id": each.id[:12], "owner": owner.name},
                )
                self._parts.events.publish(
                    "container", "network-lost", each.id, each.name, owner=owner.name
                )

    async def refresh(self, record: ContainerRecord) -> None:
        """Make a live sandbox agree with its changed endpoints, then tell the names."""
        if record.id not in self._live:
            return
        if record.endpoints and not record.dns_port:
            path = self._parts.settings.run / "netns" / record.id
            self._set_dns_port(record.id, self._parts.names.open(record.id, path, 0))
        async with self._gate.step():
            await self._apply(record.id)
        self.publish_names()

    # --- names ------------------------------------------------------------------------------

    def show(self, container_id: str) -> None:
        """From now on the container's names are answered."""
        self._named[container_id] = None
        self.publish_names()

    def hide(self, container_id: str) -> None:
        """From now on they are not; when they are again, it is taken for ready until told."""
        self._unready.discard(container_id)
        if container_id in self._named:
            del self._named[container_id]
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
        containers = self._parts.inventory.containers
        named = {id_: containers[id_] for id_ in self._named if id_ in containers}
        networks = self._parts.inventory.networks
        upstreams = self._resolvers.upstreams
        table = self._directory.update(networks, named, self._unready, upstreams)
        self._parts.names.set_table(table)

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
        self._named[record.id] = None
        await self.ports.hold_again(record)
        if record.endpoints:
            async with self._gate.step():
                path = await self._parts.engine.make_sandbox(record.id)
            port = self._parts.names.open(record.id, path, record.dns_port)
            self._set_dns_port(record.id, port)

    async def plan_all(self) -> list[str]:
        """What a repair would change, as text."""
        async with self._gate.whole():
            ops = await self._parts.engine.plan(self._desired(), None)
        return [render_op(op) for op in ops]

    async def repair_all(self) -> tuple[list[str], list[str]]:
        """Look at everything that bears our mark and mend it: (ops, conflicts) as text."""
        async with self._gate.whole():
            self.repairs.runs += 1
            try:
                report = await self._parts.engine.apply(self._desired(), None)
            except Exception as exc:
                self.repairs.failures += 1
                if not kind_of(exc):
                    raise
                report = await self._repair_each()
        for op in report.ops:
            kind = type(op.obj).__name__.lower()
            self.repairs.ops[kind] = self.repairs.ops.get(kind, 0) + 1
        return [render_op(op) for op in report.ops], list(report.conflicts)

    async def _repair_each(self) -> Report:
        """One by one: what cannot be as it should be keeps no other object from it."""
        desired = self._desired()
        scopes = [Scope(networks=frozenset({id_})) for id_ in desired.networks]
        scopes += [Scope(sandboxes=frozenset({id_})) for id_ in desired.sandboxes]
        reports: list[Report] = []
        conflicts: list[str] = []
        for scope in scopes:
            try:
                reports.append(await self._parts.engine.apply(desired, scope))
            except Exception as exc:
                if not kind_of(exc):
                    raise
                conflicts.append(str(exc))
        ops = tuple(op for report in reports for op in report.ops)
        return Report(ops=ops, conflicts=tuple(conflicts))

    def _desired(self) -> Desired:
        return build_desired(self._parts.inventory.networks, self._records(self._live))

    async def apply_network(self, network_id: str) -> Report:
        """Make or remove one network, as its record says."""
        record = self._parts.inventory.networks.get(network_id)
        async with self._gate.step():
            scope = Scope(networks=frozenset({network_id}))
            desired = build_desired({network_id: record} if record else {}, [])
            return await self._parts.engine.apply(desired, scope)
