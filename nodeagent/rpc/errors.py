"""Errors of the wire: what a peer may see, and what ends a connection."""

from collections.abc import Mapping

# The closed set of `kind` on the wire; "cancelled" only as the answer to a cancel.
KINDS = frozenset(
    {
        "invalid",
        "missing",
        "conflict",
        "exhausted",
        "busy",
        "refused",
        "unavailable",
        "internal",
        "cancelled",
    }
)


class RpcError(Exception):
    """The answer to a call was an error: kind, message for people, fields for programs."""

    def __init__(self, kind: str, message: str, fields: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.fields: Mapping[str, object] = fields or {}


class ProtocolError(Exception):
    """The peer's bytes are not msgpack-rpc; nothing that follows can be trusted."""


class ConnectionLost(RpcError):
    """The agent cannot be reached, or went away during a call; kind "unavailable"."""

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__("unavailable", message, fields)
