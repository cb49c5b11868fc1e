"""Archives that come in compressed: all bytes, few at a time, and none for granted."""

import os

import pytest
import trio
import zstandard

from nodeagent.control.unpacking import PIECE_BYTES, plain
from nodeagent.errors import Invalid

CONTENT = os.urandom(300_000) + bytes(3_000_000)


async def chunks(data, size):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data, size=65536):
    return b"".join([piece async for piece in plain(chunks(data, size))])


def packed(content):
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


@pytest.mark.parametrize("size", [4, 1000, 1 << 30])
async def test_what_went_in_comes_out(size):
    assert await read(packed(CONTENT), size) == CONTENT
    assert await read(b"plain" * 1000, size) == b"plain" * 1000
    assert await read(packed(b""), size) == b""
    assert await read(b"", size) == b""


async def test_a_few_bytes_that_stand_for_gigabytes_are_never_there_at_once():
    writer = zstandard.ZstdCompressor(level=1).compressobj()
    zeros = bytes(1 << 24)
    bomb = b"".join([*(writer.compress(zeros) for _ in range(64)), writer.flush()])
    assert len(bomb) < 1 << 20
    total = 0
    async for piece in plain(chunks(bomb, 1 << 20)):
        assert len(piece) <= PIECE_BYTES
        total += len(piece)
    assert total == 1 << 30


async def test_others_go_on_while_a_bomb_is_unpacked():
    bomb = packed(bytes(1 << 30))
    longest_s = 0.0

    async def look():
        nonlocal longest_s
        while True:
            before_s = trio.current_time()
            await trio.lowlevel.checkpoint()
            longest_s = max(longest_s, trio.current_time() - before_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        async for _ in plain(chunks(bomb, 1 << 20)):
            pass
        nursery.cancel_scope.cancel()
    assert longest_s < 0.5  # all of it at once takes longer


@pytest.mark.parametrize("left", [5, 0.5, -5, -2])
async def test_a_frame_that_is_not_whole_is_told(left):
    data = packed(CONTENT)
    cut = int(len(data) * left) if isinstance(left, float) else left
    with pytest.raises(Invalid, match="zstd"):
        await read(data[:cut])


async def test_a_damaged_frame_is_told():
    data = bytearray(packed(CONTENT))
    data[1000] ^= 0xFF
    with pytest.raises(Invalid, match="damaged"):
        await read(bytes(data))
