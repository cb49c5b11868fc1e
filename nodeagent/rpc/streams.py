"""What belongs to a running call: items, input, credit, window size, cancel; pure.

All are notifications whose first argument is the call's id::

    server: [2, "stream", [id, item]]            an item; then the response ends the call
    client: [2, "stream.ack", [id, n]]           n items were used up (only if params.window > 0)
    client: [2, "stream.input", [id, bytes]]     input; nil instead of bytes ends it
    server: [2, "stream.credit", [id, n]]        n more bytes of input may be sent
    client: [2, "stream.resize", [id, rows, columns]]
    client: [2, "cancel", [id]]                  answered by the error "cancelled"

The parameter ``window`` of a streaming method is the number of items that may be on their way
without ``stream.ack``; 0 means that only the socket holds the server back. Input begins with
``INPUT_CREDIT_BYTES`` per call.
"""

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

ITEM: Final = "stream"
ACK: Final = "stream.ack"
INPUT: Final = "stream.input"
CREDIT: Final = "stream.credit"
RESIZE: Final = "stream.resize"
CANCEL: Final = "cancel"

INPUT_CREDIT_BYTES: Final = 256 << 10
PIECE_BYTES: Final = 32 << 10  # what a client sends at once, so that calls share a connection

_Count = Annotated[int, Meta(ge=1, le=1 << 31)]
_Size = Annotated[int, Meta(ge=1, le=10000)]


class Item(Struct, frozen=True, array_like=True):
    """Arguments of ``stream``."""

    id: int
    item: Raw


class Ack(Struct, frozen=True, array_like=True):
    """Arguments of ``stream.ack``: items that were used up."""

    id: int
    count: _Count


class Input(Struct, frozen=True, array_like=True):
    """Arguments of ``stream.input``; None is the end."""

    id: int
    data: bytes | None


class Credit(Struct, frozen=True, array_like=True):
    """Arguments of ``stream.credit``: bytes of input that may be sent in addition."""

    id: int
    count: _Count


class Resize(Struct, frozen=True, array_like=True):
    """Arguments of ``stream.resize``."""

    id: int
    rows: _Size
    columns: _Size


class Cancel(Struct, frozen=True, array_like=True):
    """Arguments of ``cancel``."""

    id: int


class Window:
    """Items a server may send before it must wait; without limit if ``size`` is 0."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._unused = size

    def is_open(self) -> bool:
        """Say whether an item may be sent now."""
        return self._size == 0 or self._unused > 0

    def take(self) -> None:
        """Note that an item was sent."""
        self._unused -= 1

    def acknowledge(self, count: int) -> None:
        """Note that the client used up items; never more than the window holds."""
        self._unused = min(self._size, self._unused + count)


class InputMeter:
    """The server's account of one call's input: what may come, what is to be granted."""

    def __init__(self, credit_bytes: int) -> None:
        self._limit_bytes = credit_bytes
        self._open_bytes = credit_bytes  # what the client may still send
        self._used_bytes = 0  # read by the handler, not granted again yet

    def arrive(self, size_bytes: int) -> bool:
        """Take a piece into account; False if the client had no credit for it."""
        self._open_bytes -= size_bytes
        return self._open_bytes >= 0

    def use(self, size_bytes: int) -> int:
        """Note that the handler took a piece; return what to grant, 0 for nothing yet."""
        self._used_bytes += size_bytes
        if self._used_bytes * 4 < self._limit_bytes:  # grants in quarters: few messages, no stall
            return 0
        grant, self._used_bytes = self._used_bytes, 0
        self._open_bytes += grant
        return grant


class AckCounter:
    """The client's side of ``window``: when to acknowledge."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._used = 0

    def use(self) -> int:
        """Note that an item was used up; return how many to acknowledge now, 0 for none."""
        if self._window == 0:
            return 0
        self._used += 1
        if self._used * 2 < self._window:
            return 0
        count, self._used = self._used, 0
        return count
