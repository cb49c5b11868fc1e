"""What a change would do to the kernel, as text: nothing is recorded, and nothing is made.

The records are drafted as the change itself drafts them, so a plan is refused for the reasons that
would refuse the change. What is held for it (a name, addresses, ports) is let go at its end.
"""

from collections.abc import Iterable

import msgspec

from netdrivers.contract.specs import Scope
from netdrivers.plan.render import render_op
from nodeagent.control.attachments import Attachments
from nodeagent.control.containers import Containers
from nodeagent.control.desired import build_desired
from nodeagent.control.held import Held
from nodeagent.control.networks import Networks
from nodeagent.control.parts import Parts
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.model.container import ContainerRecord
from nodeagent.model.containerrequest import ContainerCreate, EndpointRequest
from nodeagent.model.network import NetworkCreate, NetworkRecord

UNKNOWN_PORT = -1  # where names will be served is known when the sandbox is there


class Planner:
    """Use cases ``network plan CHANGE``."""

    def __init__(
        self,
        parts: Parts,
        sandboxes: Sandboxes,
        containers: Containers,
        networks: Networks,
        attachments: Attachments,
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._containers = containers
        self._networks = networks
        self._attachments = attachments

    async def create(self, request: NetworkCreate) -> list[str]:
        """What ``network create`` would make."""
        record = await self._networks.draft(request)
        return await self._network(record, [record])

    async def rm(self, name: str) -> list[str]:
        """What ``network rm`` would remove."""
        return await self._network(self._networks.check_rm(name), [])

    async def connect(self, network: str, name: str, asked: EndpointRequest) -> list[str]:
        """What ``network connect`` would change; nothing if the container is down."""
        record = self._parts.inventory.container(name)
        async with Held(for_plan=True) as held:
            _, endpoints = await self._attachments.joined(record, network, asked, held)
            return await self._changed(msgspec.structs.replace(record, endpoints=endpoints))

    async def disconnect(self, network: str, name: str) -> list[str]:
        """What ``network disconnect`` would change; nothing if the container is down."""
        record = self._parts.inventory.container(name)
        _, endpoints = self._attachments.left(record, network)
        return await self._changed(msgspec.structs.replace(record, endpoints=endpoints))

    async def run(self, request: ContainerCreate) -> list[str]:
        """What the start of such a container would make."""
        async with Held(for_plan=True) as held:
            record, _ = await self._containers.draft(request, held)
            async with self._sandboxes.ports.tried(record) as ports:
                record = msgspec.structs.replace(
                    record, ports=ports, dns_port=UNKNOWN_PORT if record.endpoints else 0
                )
                return await self._container(record)

    async def _network(self, record: NetworkRecord, wanted: Iterable[NetworkRecord]) -> list[str]:
        desired = build_desired({each.id: each for each in wanted}, [])
        scope = Scope(networks=frozenset({record.id}))
        return [render_op(op) for op in await self._parts.engine.plan(desired, scope)]

    async def _changed(self, record: ContainerRecord) -> list[str]:
        if not self._sandboxes.is_live(record.id):
            return []
        if record.endpoints and not record.dns_port:
            record = msgspec.structs.replace(record, dns_port=UNKNOWN_PORT)
        return await self._container(record)

    async def _container(self, record: ContainerRecord) -> list[str]:
        desired = build_desired(self._parts.inventory.networks, [record])
        scope = Scope(sandboxes=frozenset({record.id}))
        return [render_op(op) for op in await self._parts.engine.plan(desired, scope)]
