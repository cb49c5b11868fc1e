"""Handlers of the agent itself. No decisions here: unpack, call, pack."""

from nodeagent.model.audit import AuditQuery
from nodeagent.rpc.bindings.usecases import UseCases
from nodeagent.rpc.schema.shapes import Done, Nothing
from nodeagent.rpc.schema.system import EventsParams
from nodeagent.rpc.server import Call


class SystemMethods:
    """Handlers of the agent itself: unpack, call, pack."""

    def __init__(self, use: UseCases) -> None:
        self._use = use

    async def system_info(self, _p: Nothing, _call: Call) -> object:
        return self._use.system.info()

    async def system_version(self, _p: Nothing, _call: Call) -> object:
        return self._use.system.version()

    async def system_df(self, _p: Nothing, _call: Call) -> object:
        return await self._use.system.df()

    async def system_events(self, p: EventsParams, call: Call) -> Done:
        await self._use.system.events(call.send, since=p.since, until=p.until, filters=p.filters)
        return Done()

    async def system_audit(self, p: AuditQuery, call: Call) -> Done:
        await self._use.audit.find(p, call.send)
        return Done()

    async def system_ping(self, _p: Nothing, _call: Call) -> Done:
        return Done()
