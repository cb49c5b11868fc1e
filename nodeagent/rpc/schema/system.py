"""RPC methods of the agent itself: parameters, results, stream items. Pure."""

from typing import Annotated

from msgspec import Meta

from nodeagent.model.audit import AuditEntry, AuditQuery
from nodeagent.model.containerrequest import Name
from nodeagent.model.system import DiskUsageRow, Event, InfoView, VersionView
from nodeagent.rpc.description import Description
from nodeagent.rpc.schema.shapes import Done, Filters, Nothing, Params, read


class EventsParams(Params, frozen=True):
    """``since``/``until`` as for logs; ``until`` ends the stream."""

    since: Name = ""
    until: Name = ""
    filters: Filters = {}
    window: Annotated[int, Meta(ge=0)] = 0


METHODS = (
    read("system.audit", "Who changed what, the oldest first.", AuditQuery, Done, AuditEntry),
    read("system.info", "The agent, its host and its counts.", Nothing, InfoView),
    read("system.version", "Versions.", Nothing, VersionView),
    read("system.df", "Disk use by kind.", Nothing, list[DiskUsageRow]),
    read("system.events", "What happens, as it happens.", EventsParams, Done, Event),
    read("system.ping", "Answer.", Nothing, Done),
    read("rpc.describe", "List every method with its schemas.", Nothing, Description),
)
