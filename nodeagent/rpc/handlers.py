"""Methods bound to handlers: decode, call, turn errors into replies; and ``rpc.describe``."""

import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Never, Protocol, cast, runtime_checkable

import msgspec

from nodeagent.errors import fields_of
from nodeagent.rpc.call import Call
from nodeagent.rpc.description import Description, MethodView
from nodeagent.rpc.errors import KINDS, RpcError
from nodeagent.rpc.roles import needed_role
from nodeagent.rpc.schema.shapes import Method, Nothing
from nodeagent.rpc.schema.table import METHODS

log = logging.getLogger(__name__)

PROTOCOL_NAME: Final = "msgpack-rpc"
DESCRIBE: Final = "rpc.describe"

# A handler takes its method's own params type; Never admits them all in one mapping.
Handler = Callable[[Never, Call], Awaitable[object]]
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REASONS: Final = ("says", "why", "reason")  # fields that are sentences
_UNSAID: Final = ("exit_code",)  # for programs
_Handle = Callable[[object, Call], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A method, how its parameters are decoded, and who answers."""

    method: Method
    decoder: msgspec.msgpack.Decoder[object]
    handle: _Handle


def bind(
    handlers: Mapping[str, Handler], *, version: str = "", methods: Mapping[str, Method] = METHODS
) -> dict[str, Bound]:
    """Join the table of methods and the handlers; ``rpc.describe`` is added.

    Raises:
        ValueError: a handler's name is not in the table.
    """
    strangers = handlers.keys() - methods.keys()
    if strangers:
        raise ValueError(f"handlers without a method: {sorted(strangers)}")
    table = {DESCRIBE: _describer(methods, version), **handlers}
    return {name: _bind_one(methods[name], table[name]) for name in table if name in methods}


def _bind_one(method: Method, handler: Handler) -> Bound:
    decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(method.params)
    return Bound(method=method, decoder=decoder, handle=cast("_Handle", handler))


# --- errors -----------------------------------------------------------------------------------


@runtime_checkable
class _Kinded(Protocol):
    """What the error bases of all packages have in common."""

    kind: str
    fields: Mapping[str, object]


def to_error(exc: Exception, *, method: str) -> RpcError:
    """Turn what a handler raised into what the client may see; a defect is logged, once."""
    known = _find_kinded(exc)
    if isinstance(known, RpcError):
        return known
    if known is not None and isinstance(known, _Kinded):
        if known.kind == "internal":
            log.error("call failed", extra={"method": method}, exc_info=exc)
        return RpcError(known.kind, build_message(known), known.fields)
    if isinstance(exc, OSError) and exc.errno in FULL:
        where = {"path": exc.filename} if exc.filename else {}
        return RpcError("exhausted", f"{method}: no space is left on a disk of the agent's", where)
    log.error("call failed", extra={"method": method}, exc_info=exc)
    # What an unforeseen exception says may hold anything, so the client gets its class only.
    return RpcError("internal", f"{method} failed: {type(exc).__name__}; see the agent's log")


def build_message(exc: Exception) -> str:
    """The error in words: what was being done, why it failed, and with what in brackets."""
    fields = dict(fields_of(exc))
    words = str(getattr(exc, "doing", exc))
    for key in _REASONS:
        if reason := fields.pop(key, None):
            words += f": {reason}"
    rest = [
        f"{key} {value}"
        for key, value in fields.items()
        if key not in _UNSAID and str(value) not in words and not isinstance(value, list)
    ]
    return f"{words} ({', '.join(rest)})" if rest else words


def _find_kinded(exc: BaseException) -> Exception | None:
    """Return the error that tells its kind, also out of a group."""
    if isinstance(exc, BaseExceptionGroup):
        found = [known for part in exc.exceptions if (known := _find_kinded(part)) is not None]
        # A defect among them decides: it must not hide behind a harmless neighbour.
        return found[0] if len(found) == len(exc.exceptions) else None
    if isinstance(exc, Exception) and isinstance(exc, _Kinded) and exc.kind in KINDS:
        return exc
    return None


# --- rpc.describe -----------------------------------------------------------------------------


def _describer(methods: Mapping[str, Method], version: str) -> Handler:
    @cache
    def describe() -> Description:
        views = [_view(method) for method in methods.values()]
        return Description(protocol=PROTOCOL_NAME, version=version, methods=views)

    async def handle(_params: Nothing, _call: Call) -> Description:
        return describe()

    return handle


def _view(method: Method) -> MethodView:
    return MethodView(
        name=method.name,
        doc=method.doc,
        params=_schema(method.params),
        result=_schema(method.result),
        stream=_schema(method.stream) if method.stream else None,
        takes_input=method.takes_input,
        changes=method.changes,
        role=needed_role(method),
    )


def _schema(kind: object) -> dict[str, object]:
    # Only `object` gets to the hook. msgspec takes no empty schema, which would mean the same.
    return msgspec.json.schema(kind, schema_hook=lambda _kind: {"description": "any value"})
