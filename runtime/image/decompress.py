"""Decompression of layer and archive streams with bounded output per step. Blocking."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final, Literal, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from runtime import errors

Form = Literal["tar", "gzip", "zstd", "bzip2", "xz"]
MAGIC: Final[tuple[tuple[bytes, Form], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x50\x2a\x4d\x18", "zstd"),  # a skippable frame, as zstd:chunked begins with
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
PIECE_BYTES: Final = 1 << 20  # so a bomb is met a megabyte at a time
WINDOW_MAX_BYTES: Final = 128 << 20  # zstd --long=27, what containerd and Docker allow
ISAL_ERROR = cast("type[Exception]", igzip_lib.IsalError)  # its stub says: an instance
XZ_MAX_BYTES: Final = 256 << 20  # xz -9 needs 65 MiB


class _Decoder(Protocol):
    """What zlib, bz2 and lzma objects have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def form_of(head: bytes) -> Form:
    """Tell the compression from the first bytes; media types lie, and Docker too ignores them."""
    return next((form for magic, form in MAGIC if head.startswith(magic)), "tar")


def peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Read at least six bytes ahead, if there are as many, and give them back in front."""
    head = b""
    while len(head) < 6 and (chunk := next(chunks, None)) is not None:
        head += chunk
    return head, _chain(head, chunks)


def decompressed(form: Form, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress, a piece at a time; Refused where the stream is damaged or ends early."""
    try:
        if form == "tar":
            yield from chunks
        elif form == "zstd":
            yield from _zstd(chunks)
        else:
            yield from _members(DECODERS[form], chunks)
    except (zlib.error, ISAL_ERROR, lzma.LZMAError, zstandard.ZstdError) as exc:
        raise errors.Refused("decompress", form=form, why=str(exc)) from exc


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from chunks


class _Zlib:
    """gzip by isal; keeps back what did not fit, as bz2 and lzma objects do."""

    def __init__(self) -> None:
        self._inner = isal_zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return bytes(self._inner.decompress(self._inner.unconsumed_tail + data, max_length))


DECODERS: Final[dict[Form, Callable[[], _Decoder]]] = {
    "gzip": _Zlib,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=XZ_MAX_BYTES),
}


def _members(make: Callable[[], _Decoder], chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress a series of members; zeros may follow the last one."""
    decoder: _Decoder | None = None
    for chunk in chunks:
        rest = chunk
        while rest:
            if decoder is None:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                decoder = make()
            yield from _drain(decoder, rest)
            rest = decoder.unused_data if decoder.eof else b""
            decoder = None if decoder.eof else decoder
    if decoder is not None:
        raise errors.Refused("decompress", why="ends early")


def _drain(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    """Feed ``data``; take output by pieces until the decoder wants more input."""
    try:
        piece = decoder.decompress(data, PIECE_BYTES)
        while piece:
            yield piece
            if decoder.eof:
                return
            piece = decoder.decompress(b"", PIECE_BYTES)
    except (EOFError, OSError) as exc:  # bz2 says OSError for damage
        raise errors.Refused("decompress", why=str(exc)) from exc


class _Readable:
    """Chunks as the read(n) that zstandard wants."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _size: int = -1, /) -> bytes:
        return next(self._chunks, b"")


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress zstd frames; a missing end goes unseen here, the tar or the hash tells it."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
    source = cast("IO[bytes]", _Readable(chunks))  # it needs read() only
    decoder = decompressor.stream_reader(source, read_across_frames=True)
    while piece := decoder.read(PIECE_BYTES):
        yield bytes(piece)
