"""Streams in five forms, cut, joined and damaged."""

import bz2
import gzip
import lzma
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from runtime import errors
from runtime.image.decompress import PIECE_BYTES, decompressed, form_of, peek

PACK = {
    "tar": bytes,
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
DATA = bytes(range(256)) * 40 + bytes(3 << 20)


def cut(data: bytes, size: int):
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("form", PACK)
@pytest.mark.parametrize("size", [97, 65536, 1 << 22])
def test_any_cut_gives_the_same(form, size):
    head, chunks = peek(cut(PACK[form](DATA), size))
    assert form_of(head) == form
    pieces = list(decompressed(form, chunks))
    assert b"".join(pieces) == DATA
    assert form == "tar" or max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("form", sorted(set(PACK) - {"tar"}))
def test_members_in_a_row(form):
    packed = PACK[form](b"one") + PACK[form](b"two")
    assert b"".join(decompressed(form, cut(packed, 7))) == b"onetwo"


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz"])
def test_zeros_may_follow(form):
    assert b"".join(decompressed(form, iter([PACK[form](b"x"), bytes(600)]))) == b"x"


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz"])
def test_an_early_end_is_refused(form):
    with pytest.raises(errors.Refused):
        list(decompressed(form, iter([PACK[form](DATA)[:-9]])))


@pytest.mark.parametrize("form", sorted(set(PACK) - {"tar"}))
@given(data=st.binary(max_size=60))
def test_garbage_is_refused_or_decoded(form, data):
    head = PACK[form](b"x")[:4]
    with suppress(errors.Refused):
        list(decompressed(form, iter([head + data])))


def test_a_bomb_comes_in_pieces():
    packed = zstandard.compress(bytes(256 << 20))
    assert len(packed) < 32 << 10
    first = next(decompressed("zstd", iter([packed])))
    assert len(first) <= PIECE_BYTES
