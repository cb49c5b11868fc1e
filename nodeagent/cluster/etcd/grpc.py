"""gRPC's own bytes: messages with a length in front, and a status at the end. Pure.

Source: "gRPC over HTTP2" of the gRPC project.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from nodeagent.errors import AgentError, Exhausted, Internal, Invalid, Refused, Unavailable

OK: Final = 0
NOT_FOUND: Final = 5
OUT_OF_RANGE: Final = 11
UNAVAILABLE: Final = 14
MESSAGE_MAX_BYTES: Final = 64 << 20  # an answer of many rows; etcd itself sends what it has
_HEAD_BYTES: Final = 5

_ERRORS: Final[Mapping[int, type[AgentError]]] = {
    2: Unavailable,  # etcd's word for a member that is stopping
    3: Invalid, 7: Refused, 16: Refused, 8: Exhausted, 4: Unavailable, 14: Unavailable,
    9: Refused, 1: Unavailable,
}  # fmt: skip


class Broken(Exception):
    """What came is not gRPC, or more than we take."""


class Frames:
    """Bytes in, whole messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises Broken: compressed, which we never offered, or too large."""
        self._buffer += data
        while len(self._buffer) >= _HEAD_BYTES:
            size = int.from_bytes(self._buffer[1:_HEAD_BYTES], "big")
            if self._buffer[0] or size > MESSAGE_MAX_BYTES:
                raise Broken(f"a message of {size} bytes, flags {self._buffer[0]}")
            end = _HEAD_BYTES + size
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_HEAD_BYTES:end])
            del self._buffer[:end]
            yield message


def build_frame(message: bytes) -> bytes:
    """One message as it goes over the wire."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def build_headers(path: str, authority: str, *, has_leader: bool) -> list[tuple[str, str]]:
    """Headers of a call. ``has_leader``: to be ended where the server lost its leader."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    return [*headers, ("hasleader", "true")] if has_leader else headers


def parse_status(headers: Iterable[Sequence[str | bytes]]) -> tuple[int, str] | None:
    """(code, text) of the headers that end a call; None if they have no status."""
    found = {str(each[0]): str(each[1]) for each in headers}
    status = found.get("grpc-status", "")
    if not (status.isascii() and status.isdecimal()):
        return None
    return int(status), unquote(found.get("grpc-message", ""))


def status_error(code: int, text: str, doing: str) -> AgentError:
    """The error that a status other than OK is to us."""
    return _ERRORS.get(code, Internal)(f"{doing}: {text or 'no reason given'}", grpc_status=code)
