"""Where msgpack-rpc frames begin and end in a stream of bytes; pure.

msgpack's C unpacker finds the end of a frame with ``skip()``, without building objects. A frame
that is too long or nested too deep for it is walked over by ``_Walk``, so that the connection
can go on behind it.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

import msgpack

from nodeagent.rpc.errors import ProtocolError

MAX_FRAME_BYTES: Final = 16 << 20
PREFIX_BYTES: Final = 512  # enough for id and method of any frame worth an answer
# Walking costs about 0.3 us a value on the loop; a frame of more values is not worth 30 ms.
WALK_VALUES: Final = 100_000
# Requests and responses are arrays of four, notifications of three. No encoder spends a longer
# header on them, so any other first byte is refused before more is buffered.
_FIRST_BYTES: Final = frozenset({0x93, 0x94})

# Bytes that follow the type byte of values of fixed length (nil, bool, numbers, fixext).
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
# Type byte -> (length of the count, children per count, payload bytes per count, extra payload).
_COUNTED: Final = {
    0xC4: (1, 0, 1, 0), 0xC5: (2, 0, 1, 0), 0xC6: (4, 0, 1, 0),
    0xC7: (1, 0, 1, 1), 0xC8: (2, 0, 1, 1), 0xC9: (4, 0, 1, 1),
    0xD9: (1, 0, 1, 0), 0xDA: (2, 0, 1, 0), 0xDB: (4, 0, 1, 0),
    0xDC: (2, 1, 0, 0), 0xDD: (4, 1, 0, 0), 0xDE: (2, 2, 0, 0), 0xDF: (4, 2, 0, 0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that was dropped; what follows it is readable again."""

    prefix: bytes
    reason: str


class Frames:
    """Bytes in, whole frames out; holds at most one frame and one chunk."""

    def __init__(self, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()  # the beginning of a frame; the unpacker knows it already
        self._walk: _Walk | None = None
        self._unpacker = _Sizes()

    def feed(self, data: bytes) -> Iterator[bytes | Unreadable]:
        """Give the frames that ``data`` completes; to be consumed to its end.

        Raises:
            ProtocolError: the bytes are no msgpack-rpc.
        """
        while data:
            if self._walk is None:
                data = yield from self._split(data)
            else:
                data = self._walk_on(self._walk, data)

    def _walk_on(self, walk: "_Walk", data: bytes) -> bytes:
        used = walk.feed(data)
        if used is None:
            return b""
        self._walk = None
        return data[used:]

    def _split(self, data: bytes) -> Generator[bytes | Unreadable, None, bytes]:
        """Give whole frames; return the bytes that are to be walked over."""
        self._unpacker.feed(data)
        if self._held:
            self._held += data
        buffer = self._held or data
        start = 0
        while start < len(buffer):
            if buffer[start] not in _FIRST_BYTES:
                raise ProtocolError("a frame does not begin with an array of three or four")
            reason, size = self._measure(len(buffer) - start)
            if reason:
                yield Unreadable(bytes(buffer[start : start + PREFIX_BYTES]), reason)
            elif size:
                yield bytes(buffer[start : start + size])
            if not size:
                return self._stop_at(buffer, start, walk=bool(reason))
            start += size
        self._held = bytearray()
        return b""

    def _measure(self, have: int) -> tuple[str, int]:
        """Say what is wrong with the next frame, and its size if its end is known, else 0."""
        try:
            size = self._unpacker.next_size()
        except msgpack.StackError:
            return "nested too deep", 0
        except msgpack.FormatError as exc:
            raise ProtocolError("not msgpack") from exc
        too_large = (size or have) > self._max_bytes
        return f"larger than {self._max_bytes} bytes" if too_large else "", size

    def _stop_at(self, buffer: bytes | bytearray, start: int, *, walk: bool) -> bytes:
        rest = buffer[start:] if start else buffer
        if not walk:
            self._held = bytearray(rest) if rest is not self._held else self._held
            return b""
        self._held, self._unpacker, self._walk = bytearray(), _Sizes(), _Walk()
        return bytes(rest)


class _Sizes:
    """The unpacker as a measure of frames."""

    def __init__(self) -> None:
        # No limit of its own: Frames stops feeding it when a frame is too large.
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)
        self._start = 0
        self.feed = self._unpacker.feed

    def next_size(self) -> int:
        """Size of the next frame; 0 if its end has not come yet."""
        try:
            self._unpacker.skip()
        except msgpack.OutOfData:
            return 0
        start, self._start = self._start, self._unpacker.tell()
        return self._start - start


class _Walk:
    """Over one value, piece by piece, keeping nothing; depth does not matter."""

    def __init__(self) -> None:
        self._values = 1  # values that are still to come
        self._jump = 0  # payload bytes that are still to come
        self._header = b""  # a header cut in two
        self._budget = WALK_VALUES

    def feed(self, data: bytes) -> int | None:
        """Return how many bytes of ``data`` belong to the value; None if all and more do.

        Raises:
            ProtocolError: more values than are worth walking over, or not msgpack.
        """
        held = len(self._header)
        data, self._header = self._header + data, b""
        position = 0
        while True:
            jump = min(self._jump, len(data) - position)
            position, self._jump = position + jump, self._jump - jump
            if not self._jump and not self._values:
                return position - held
            if position == len(data):
                return None
            size = self._step(data, position)
            if not size:
                self._header = data[position:]
                return None
            position += size

    def _step(self, data: bytes, position: int) -> int:
        """Take one header into account; return its size, 0 if it is not complete."""
        header = _read_header(data, position)
        if header is None:
            return 0
        size, children, self._jump = header
        self._values += children - 1
        self._budget -= 1
        if self._budget < 0:
            raise ProtocolError("an unreadable frame of too many values")
        return size


def _read_header(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Return header size, number of children and payload size; None if cut off."""
    byte = data[position]
    if byte <= 0x7F or byte >= 0xE0:
        return 1, 0, 0
    if byte <= 0x9F:
        return 1, (byte & 15) * (2 if byte <= 0x8F else 1), 0
    if byte <= 0xBF:
        return 1, 0, byte & 31
    if byte in _FIXED:
        return 1, 0, _FIXED[byte]
    if byte not in _COUNTED:
        raise ProtocolError("not msgpack")
    width, children, payload, extra = _COUNTED[byte]
    if position + 1 + width > len(data):
        return None
    count = int.from_bytes(data[position + 1 : position + 1 + width], "big")
    return 1 + width, count * children, count * payload + extra
