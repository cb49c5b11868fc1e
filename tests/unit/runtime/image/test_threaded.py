"""Bytes from a thread: whole, in order, and a failure is never taken for the end."""

import pytest
import trio

from runtime import errors
from runtime.image.threaded import PIECE_BYTES, written


async def collect(work) -> bytes:
    async with written("test", work, trio.CapacityLimiter(1)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_all_bytes_come_in_order_and_in_large_pieces():
    sizes = []

    def work(write) -> None:
        for n in range(PIECE_BYTES):
            write(n.to_bytes(4, "big"))

    async with written("test", work, trio.CapacityLimiter(1)) as chunks:
        whole = b""
        async for chunk in chunks:
            sizes.append(len(chunk))
            whole += chunk
    assert whole == b"".join(n.to_bytes(4, "big") for n in range(PIECE_BYTES))
    assert len(sizes) == 4


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (errors.Refused("x"), errors.Refused),
        (OSError(28, "full"), errors.Exhausted),
        (OSError(5, "broken"), errors.Refused),
    ],
)
async def test_a_failure_comes_where_bytes_would(raised, seen):
    def work(write) -> None:
        write(b"x" * PIECE_BYTES)
        raise raised

    with pytest.raises(seen):
        await collect(work)


async def test_who_leaves_early_ends_the_work():
    ended = []

    def work(write) -> None:
        try:
            while True:
                write(b"x" * PIECE_BYTES)
        finally:
            ended.append(True)

    async with written("test", work, trio.CapacityLimiter(1)) as chunks:
        assert await anext(chunks)
    assert ended == [True]
