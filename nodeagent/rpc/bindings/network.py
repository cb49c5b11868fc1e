"""Handlers of networks and published ports. No decisions here: unpack, call, pack."""

from typing import TYPE_CHECKING

from nodeagent.errors import Invalid
from nodeagent.model.drift import DriftResult, PlanResult
from nodeagent.model.explain import Explain
from nodeagent.model.network import (
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkPrune,
    NetworkRemove,
)
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.network import NetworkPlan, OnNetwork
from nodeagent.rpc.schema.shapes import Done, Id, ListParams, Nothing, Refs
from nodeagent.rpc.server import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class NetworkMethods:
    """Handlers of networks and published ports: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def network_create(self, p: NetworkCreate, _call: Call) -> Id:
        record = await self._use.networks.create(p)
        return Id(id=record.id, name=record.name)

    async def network_rm(self, p: NetworkRemove, _call: Call) -> Done:
        await self._use.networks.rm(p.name, force=p.force)
        return Done()

    async def network_connect(self, p: NetworkConnect, _call: Call) -> Done:
        await self._use.attachments.connect(p.network, p.container, p.endpoint)
        return Done()

    async def network_disconnect(self, p: NetworkDisconnect, _call: Call) -> Done:
        await self._use.attachments.disconnect(p.network, p.container, force=p.force)
        return Done()

    async def network_prune(self, p: NetworkPrune, _call: Call) -> object:
        return await self._use.networks.prune(p.filters)

    async def network_ls(self, p: ListParams, _call: Call) -> object:
        return self._use.networks.ls(p.filters)

    async def network_inspect(self, p: Refs, _call: Call) -> object:
        return await self._use.inspector.inspect(p.names)

    async def network_plan(self, p: NetworkPlan, _call: Call) -> PlanResult:
        planner = self._use.planner
        changes: list[Callable[[], Awaitable[list[str]]]] = []
        if (create := p.create) is not None:
            changes.append(lambda: planner.create(create))
        if (rm := p.rm) is not None:
            changes.append(lambda: planner.rm(rm.name))
        if (join := p.connect) is not None:
            changes.append(lambda: planner.connect(join.network, join.container, join.endpoint))
        if (leave := p.disconnect) is not None:
            changes.append(lambda: planner.disconnect(leave.network, leave.container))
        if (run := p.run) is not None:
            changes.append(lambda: planner.run(run))
        if len(changes) > 1:
            raise Invalid("one change at a time can be planned", field="params")
        if changes:
            return PlanResult(ops=await changes[0]())
        return PlanResult(ops=(await self._use.repairer.check()).lines)

    async def network_explain(self, p: Explain, _call: Call) -> object:
        return await self._use.explaining.explain(p)

    async def network_check(self, p: OnNetwork, _call: Call) -> DriftResult:
        drift = await self._use.repairer.check(p.network)
        return DriftResult(ops=drift.lines, conflicts=list(drift.conflicts))

    async def network_audit(self, _p: Nothing, _call: Call) -> object:
        return await self._use.auditor.audit()

    async def network_repair(self, p: OnNetwork, _call: Call) -> DriftResult:
        drift = await self._use.repairer.repair(p.network)
        return DriftResult(ops=drift.lines, conflicts=list(drift.conflicts))

    async def port_ls(self, p: ListParams, _call: Call) -> object:
        return self._use.sandboxes.ports.ls(p.filters)
