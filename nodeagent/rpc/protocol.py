"""msgpack-rpc: bytes in, typed events out, and back; pure.

The public protocol: ``[0, id, method, params]``, ``[1, id, error, result]``,
``[2, method, params]``. ``params`` is a list of nothing or one map; a bare map and nil are taken
too. ``error`` is nil or ``[kind, message, fields]``. What belongs to a running call goes in
notifications whose first parameter is its id; see ``nodeagent.rpc.streams``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgpack
import msgspec
from msgspec import Raw

from nodeagent.rpc.errors import ProtocolError, RpcError
from nodeagent.rpc.framing import MAX_FRAME_BYTES, Frames, Unreadable

T = TypeVar("T")

_REQUEST, _RESPONSE, _NOTIFY = 0, 1, 2
_EMPTY_MAP: Final = b"\x80"
_ENCODE: Final = msgspec.msgpack.Encoder(enc_hook=str).encode
_DECODE: Final = msgspec.msgpack.Decoder().decode
_FOUR: Final = msgspec.msgpack.Decoder(tuple[int, int, Raw, Raw]).decode
_THREE: Final = msgspec.msgpack.Decoder(tuple[int, Raw, Raw]).decode


@dataclass(frozen=True, slots=True)
class Request:
    """A call; ``params`` are still msgpack, to be decoded by the method's type."""

    id: int
    method: str
    params: bytes | Raw


@dataclass(frozen=True, slots=True)
class Rejected:
    """A call that is answered by this error and not made."""

    id: int
    method: str
    error: RpcError


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a call; ``error`` is None when it went well."""

    id: int
    error: RpcError | None
    result: bytes | Raw


@dataclass(frozen=True, slots=True)
class Notify:
    """A message without an answer; ``args`` is a msgpack list."""

    method: str
    args: bytes | Raw


Event = Request | Rejected | Response | Notify


class Protocol:
    """One direction of a connection: feed what was received, get what it means."""

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._frames = Frames(max_bytes=max_frame_bytes)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Give the messages that ``data`` completes; to be consumed to its end.

        Raises:
            ProtocolError: the bytes are no msgpack-rpc; close the connection.
        """
        for frame in self._frames.feed(data):
            if isinstance(frame, Unreadable):
                yield _reject(frame.prefix, frame.reason)
            else:
                yield _read_frame(frame)


def _read_frame(frame: bytes) -> Event:
    try:
        return _read_notify(frame) if frame[0] == 0x93 else _read_four(frame)
    except RecursionError:
        return _reject(frame, "nested too deep")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"not a msgpack-rpc message: {exc}") from exc


def _read_four(frame: bytes) -> Event:
    code, call_id, third, fourth = _FOUR(frame)
    if call_id < 0:
        raise ProtocolError("a negative call id")
    if code == _RESPONSE:
        return Response(call_id, read_error(third), fourth)
    if code != _REQUEST:
        raise ProtocolError(f"an unknown message type {code}")
    method = _read_method(third)
    if method is None:
        return Rejected(call_id, "", RpcError("invalid", "method is no name", {"field": "method"}))
    return Request(call_id, method, fourth)


def _read_notify(frame: bytes) -> Notify:
    code, name, args = _THREE(frame)
    method = _read_method(name)
    if code != _NOTIFY or method is None:
        raise ProtocolError("not a notification")
    return Notify(method, args)


def _read_method(raw: Raw) -> str | None:
    """Return the name, which old clients send as bytes; None if it is none."""
    try:
        name = _DECODE(raw)
        return name.decode() if isinstance(name, bytes) else name if isinstance(name, str) else None
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None


def _reject(prefix: bytes, reason: str) -> Rejected:
    """Make the answer to a frame of which only the beginning is known.

    Raises:
        ProtocolError: it is no request, or the beginning does not tell its id.
    """
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(prefix)
    try:
        unpacker.read_array_header()
        code, call_id, method = (unpacker.unpack() for _ in range(3))
    except (ValueError, msgpack.UnpackException) as exc:
        raise ProtocolError(f"a frame {reason}") from exc
    if code != _REQUEST or not isinstance(call_id, int) or call_id < 0:
        raise ProtocolError(f"a frame {reason}")
    return Rejected(
        call_id, str(method), RpcError("invalid", f"params: {reason}", {"field": "params"})
    )


# --- parameters -------------------------------------------------------------------------------


def read_params(raw: bytes | Raw, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Decode and check the parameters of a call in one pass.

    Raises:
        RpcError: kind "invalid"; ``fields["field"]`` is the path, as ``params.ports[0].host_port``.
    """
    try:
        return decoder.decode(_only_map(raw))
    except msgspec.ValidationError as exc:
        raise _describe(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RpcError("invalid", f"params: {exc}", {"field": "params"}) from exc


def _only_map(raw: bytes | Raw) -> bytes | memoryview:
    view = memoryview(raw)
    first = view[0]
    if first == 0x91:
        return view[1:]
    if first in {0x90, 0xC0}:  # [] and nil
        return _EMPTY_MAP
    if 0x92 <= first <= 0x9F or first in {0xDC, 0xDD}:
        raise RpcError("invalid", "params: expected one map", {"field": "params"})
    return view


_PATH: Final = re.compile(r" - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`")
_NAMED: Final = re.compile(r"(?:unknown|missing required) field `([^`]*)`")


def _describe(exc: msgspec.ValidationError) -> RpcError:
    """Say which field is wrong, in the caller's words."""
    text = str(exc)
    path = _PATH.search(text)
    field = "params" + (path["path"] if path else "")
    reason = text[: path.start()] if path else text
    if named := _NAMED.search(text):
        field += f".{named[1]}"
    return RpcError("invalid", f"{field}: {reason}", {"field": field})


# --- building ---------------------------------------------------------------------------------


def build_request(call_id: int, method: str, params: object) -> bytes:
    """Encode a call; ``params`` is a map, a struct or None."""
    return _ENCODE((_REQUEST, call_id, method, () if params is None else (params,)))


def build_response(call_id: int, result: object) -> bytes:
    """Encode the answer to a call that went well."""
    return _ENCODE((_RESPONSE, call_id, None, result))


def build_error(call_id: int, kind: str, message: str, fields: Mapping[str, object]) -> bytes:
    """Encode the answer to a call that went wrong."""
    return _ENCODE((_RESPONSE, call_id, (kind, message, dict(fields)), None))


def build_notify(method: str, *args: object) -> bytes:
    """Encode a message without an answer."""
    return _ENCODE((_NOTIFY, method, args))


# --- the client's side ------------------------------------------------------------------------


def read_error(raw: bytes | Raw) -> RpcError | None:
    """Read the error of a response; servers of other authors may send a plain text."""
    value = _DECODE(raw)
    match value:
        case None:
            return None
        case [str(kind), str(message), dict(fields)]:
            return RpcError(kind, message, {str(key): fields[key] for key in fields})
        case _:
            return RpcError("internal", str(value))


def read_args(raw: bytes | Raw, kind: type[T]) -> T | None:
    """Read the arguments of a notification; None if they are not of this shape."""
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_result(raw: bytes | Raw, kind: type[T]) -> T:
    """Read a result or an item.

    Raises:
        RpcError: kind "internal": it is not of this type; agent and client differ in version.
    """
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RpcError("internal", f"an answer that is not understood: {exc}") from exc
