"""Who changed what."""

from typing import Annotated

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Name


class AuditEntry(Struct, frozen=True, kw_only=True):
    """A call that was to change something, or was refused to its caller.

    ``who`` is the name in a certificate, or ``uid:N`` by the unix socket; ``target`` what the call
    names. Of its parameters nothing else is kept, as they may be secret.
    """

    time: str
    method: str
    target: str
    outcome: str  # ok, or the kind of the error
    seconds: float
    who: str
    role: str
    address: str = ""
    uid: int = -1
    gid: int = -1
    pid: int = -1


class AuditQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``method``: also its noun alone. ``who``: also without ``client-``."""

    since: Name = ""
    who: Name = ""
    method: Name = ""
    window: Annotated[int, Meta(ge=0)] = 0
