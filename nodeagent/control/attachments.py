"""Networks of a container that exists: attach and detach, live."""

import msgspec
import trio

from nodeagent.control import etcdir
from nodeagent.control.containers import Containers
from nodeagent.control.desired import has_sandbox
from nodeagent.control.held import Held
from nodeagent.control.lifecycle import Lifecycle
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.errors import Conflict, Invalid, Missing
from nodeagent.model.container import ContainerRecord, EndpointRecord
from nodeagent.model.containerrequest import EndpointRequest
from nodeagent.model.network import NetworkRecord

UNDO_S = 10.0  # to take a refused change back; a guess


class Attachments:
    """Use cases ``network connect`` and ``network disconnect``."""

    def __init__(
        self, parts: Parts, sandboxes: Sandboxes, containers: Containers, lifecycle: Lifecycle
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._containers = containers
        self._lifecycle = lifecycle

    async def connect(self, network: str, name: str, asked: EndpointRequest) -> None:
        """Attach to a network; a running container gets its interface at once."""
        async with self._lifecycle.step(name) as record, Held() as held:
            target, endpoints = await self.joined(record, network, asked, held)
            await self._change(record, endpoints)
        self._tell("connect", target, record)

    async def disconnect(self, network: str, name: str, *, force: bool = False) -> None:
        """Detach from a network; a running container loses its interface at once.

        ``force``: also from one that is not there any more.
        """
        async with self._lifecycle.step(name) as record:
            lost = self._lost(record, network) if force else None
            if lost is not None:
                await self._change(record, _without(record, lost))
                self._parts.events.publish("network", "disconnect", lost, "", container=record.id)
                return
            target, rest = self.left(record, network)
            await self._change(record, rest)
        self._tell("disconnect", target, record)

    def _lost(self, record: ContainerRecord, network: str) -> str | None:
        """The id of a network that only the container still knows of."""
        lost = [id_ for id_ in record.endpoints if id_ not in self._parts.inventory.networks]
        return next((id_ for id_ in lost if id_.startswith(network)), None)

    async def joined(
        self, record: ContainerRecord, network: str, asked: EndpointRequest, held: Held
    ) -> tuple[NetworkRecord, dict[str, EndpointRecord]]:
        """The network and the endpoints with it; its addresses stay leased while ``held`` is."""
        target = self._parts.inventory.network(network)
        if not has_sandbox(record) or record.network_mode == "none":
            raise Invalid(
                "a container in this network mode joins no network",
                field="container",
                network_mode=record.request.network_mode,
            )
        if target.id in record.endpoints:
            raise Conflict(
                "the container is on this network already", field="network", name=target.name
            )
        interface = self._containers.free_interface(record)
        endpoint = await self._containers.endpoint(target, asked, interface, record.id, held)
        return target, {**record.endpoints, target.id: endpoint}

    def left(
        self, record: ContainerRecord, network: str
    ) -> tuple[NetworkRecord, dict[str, EndpointRecord]]:
        """The network and the endpoints without it."""
        target = self._parts.inventory.network(network)
        if not has_sandbox(record):
            raise Invalid(
                "a container in this network mode keeps it",
                field="container",
                network_mode=record.request.network_mode,
            )
        if target.id not in record.endpoints:
            raise Missing("the container is not on this network", field="network", name=target.name)
        return target, _without(record, target.id)

    async def _change(self, before: ContainerRecord, endpoints: dict[str, EndpointRecord]) -> None:
        """Intent, then the kernel; if it refuses, the record goes back to what it was."""
        after = msgspec.structs.replace(before, endpoints=endpoints)
        await self._parts.inventory.put(after)
        try:
            await self._apply(before, after)
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._parts.inventory.put(before)
                await self._apply(after, before)
            raise

    async def _apply(self, before: ContainerRecord, after: ContainerRecord) -> None:
        await self._sandboxes.refresh(after)
        if self._sandboxes.is_live(after.id):
            etcdir.update(self._parts.settings, before, after)

    def _tell(self, action: str, network: NetworkRecord, record: ContainerRecord) -> None:
        self._parts.events.publish("network", action, network.id, network.name, container=record.id)


def _without(record: ContainerRecord, network_id: str) -> dict[str, EndpointRecord]:
    return {id_: each for id_, each in record.endpoints.items() if id_ != network_id}
