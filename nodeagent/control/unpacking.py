"""Archives that may be compressed, as they come in: plain bytes out, never many at once."""

from collections.abc import AsyncIterator
from typing import IO, Final, cast

import trio
import zstandard

from nodeagent.errors import Invalid

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
PIECE_BYTES: Final = 1 << 20
WINDOW_MAX_BYTES: Final = 128 << 20  # zstd --long=27
MARK: Final = b"the end " * 64


async def plain(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Without zstd, if there is any.

    A few bytes may stand for gigabytes, so they are unpacked piece by piece and in a thread.

    Raises:
        Invalid: the frame is damaged or not whole.
    """
    first = await anext(chunks, b"")
    if not first.startswith(ZSTD_MAGIC):
        if first:
            yield first
        async for chunk in chunks:
            yield chunk
        return
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
    source = cast("IO[bytes]", _Marked(first, chunks))  # it needs read() only
    reader = decompressor.stream_reader(source, read_across_frames=True)
    tail = b""
    try:
        while piece := await trio.to_thread.run_sync(reader.read, PIECE_BYTES - len(MARK)):
            tail += piece
            if len(tail) > len(MARK):
                yield tail[: -len(MARK)]
            tail = tail[-len(MARK) :]
    except zstandard.ZstdError as exc:
        raise Invalid("the archive's zstd frame is damaged", says=str(exc)) from exc
    if tail != MARK:
        raise Invalid("the archive ends before its zstd frame does")


class _Marked:
    """The read(n) that zstandard wants, for its thread: all frames, and one of the mark.

    zstandard does not tell a frame that is cut from one that ends. The mark only comes out if
    all that is before it is whole; compressed it does not look like itself.
    """

    def __init__(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        self._first = first
        self._chunks = chunks
        self._is_dry = False

    def read(self, _size: int = -1, /) -> bytes:
        first, self._first = self._first, b""
        if first or self._is_dry:
            return first
        return trio.from_thread.run(self._next)

    async def _next(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        self._is_dry = True
        return zstandard.ZstdCompressor().compress(MARK)
