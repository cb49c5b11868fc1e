import gzip
import io
from functools import partial

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.contract.logs import Cursor, LogLine, Query
from runtime.logs import reader
from runtime.logs.generations import drop, pack, rotate, tidy
from runtime.logs.reader import Pace, find_packed_tail, find_tail
from runtime.logs.record import Joiner
from tests.unit.runtime.logs.test_record import lines, record, render


@pytest.mark.parametrize("find", [find_tail, find_packed_tail])
@given(wanted=lines, count=st.integers(0, 15), chunk=st.sampled_from([7, 64, 1 << 16]))
def test_tail_is_the_end_of_the_whole(find, wanted, count, chunk):
    raw = render(wanted)
    before, reader.CHUNK_BYTES = reader.CHUNK_BYTES, chunk
    try:
        offset, found = find(io.BytesIO(raw), count)
    finally:
        reader.CHUNK_BYTES = before
    assert found == min(count, len(wanted))
    got = [line.data for line in Joiner().feed(raw[offset:])]
    assert got == [line.data for line in Joiner().feed(raw)][len(wanted) - found :]


def test_tail_reads_only_the_end():
    class Counting(io.BytesIO):
        total = 0

        def read(self, size=-1):
            self.total += size
            return super().read(size)

    file = Counting(render([(b"stdout", [], b"x" * 50)] * 20000))
    assert find_tail(file, 10)[1] == 10
    assert file.total <= 2 * reader.CHUNK_BYTES


async def read(path, *, wakes=None, ended=None, **query):
    async def at_once():
        return None

    limiter = trio.CapacityLimiter(1)
    got = reader.read_log(
        path, Query(**query), ended or at_once, limiter=limiter, wakes=wakes, now_ns=lambda: 0
    )
    return [line async for line in got]


def write(log, number, *, append=False):
    line = record(number % 10, b"stdout", b"F", b"%d" % number)
    with log.open("ab" if append else "wb") as file:
        file.write(line)


def texts(found):
    return [f"lost {line.lost}" if line.lost else line.data.decode().strip() for line in found]


@pytest.fixture
def log(tmp_path):
    """Five files: 1 and 2 compressed, 3 and 4 as written, and the present one, number 5."""
    log = tmp_path / "ctr.log"
    for number in range(1, 6):
        write(log, number)
        if number < 5:
            rotate(log)
        if number < 3:
            pack(tmp_path / f"ctr.log.{number}")
    return log


async def test_files_are_read_oldest_first_compressed_or_not(log):
    assert texts(await read(log)) == ["1", "2", "3", "4", "5"]
    assert texts(await read(log, tail=4)) == ["2", "3", "4", "5"]
    assert texts(await read(log, tail=2)) == ["4", "5"]
    assert await read(log, tail=0) == []


async def test_a_cursor_holds_over_rotation_and_compression(log):
    before = await read(log)
    write(log, 6, append=True)
    rotate(log)
    write(log, 7)
    tidy(log, keep=9, compress=True)
    for n, line in enumerate(before):
        assert (
            texts(await read(log, after=line.cursor))
            == ["1", "2", "3", "4", "5", "6", "7"][n + 1 :]
        )


async def test_who_comes_too_late_for_a_cursor_is_told(log):
    first = (await read(log))[0]
    tidy(log, keep=1, compress=True)
    late = await read(log, after=first.cursor)
    assert texts(late) == ["lost 3", "4", "5"]
    assert texts(await read(log, after=late[0].cursor)) == ["4", "5"], "told once"
    assert texts(await read(log)) == ["4", "5"], "nobody waited for the others"
    drop(log, 4)
    assert texts(await read(log, after=Cursor(generation=3, offset=0))) == ["lost 2", "5"]


async def test_a_cursor_from_the_future_reads_nothing(log):
    assert await read(log, after=Cursor(generation=99, offset=0)) == []
    assert await read(log, after=Cursor(generation=5, offset=10_000)) == []


class Turns:
    """Wakes of a follower: it has seen all, and looks again when it is told to."""

    def __init__(self):
        self._idle, self._go = trio.Event(), trio.Event()

    async def wait(self):
        self._idle.set()
        await self._go.wait()
        self._go = trio.Event()

    def close(self):
        pass

    async def idle(self):
        await self._idle.wait()

    async def turn(self):
        self._idle = trio.Event()
        self._go.set()
        await self._idle.wait()


async def follow(log, steps, **query):
    """What a follower sees that is idle before each step."""
    turns, ended, seen = Turns(), trio.Event(), []

    async def run():
        seen.extend(await read(log, follow=True, wakes=turns, ended=ended.wait, **query))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await turns.idle()
            for step in steps:
                step()
                await turns.turn()
            ended.set()
    return texts(seen)


async def test_a_follower_is_told_what_was_dropped_before_it_came(log):
    """It holds the file it reads; the ones behind it go while it waits for its first line."""

    def flood():
        for number in (6, 7, 8):
            rotate(log)
            write(log, number)
        tidy(log, keep=1, compress=False)

    assert await follow(log, [flood], tail=0) == ["lost 1", "7", "8"]


async def test_a_follower_that_keeps_up_loses_nothing(log):
    def rotate_late(number):
        rotate(log)
        write(log.with_name(f"ctr.log.{number - 1}"), 100 + number, append=True)  # as conmon does

    def reopen(number):
        write(log, number)
        tidy(log, keep=1, compress=True)

    steps, wanted = [], [str(n) for n in range(1, 6)]
    for number in range(6, 20):
        steps += [partial(rotate_late, number), partial(reopen, number)]
        wanted += [str(100 + number), str(number)]
    assert await follow(log, steps) == wanted


async def test_a_follower_looks_again_after_its_period(log, autojump_clock):
    await Pace(7).wait()
    assert trio.current_time() >= 7


async def test_a_damaged_file_is_told_and_the_rest_is_read(log):
    packed = log.with_name("ctr.log.2.gz")
    packed.write_bytes(packed.read_bytes()[:-9])
    assert [text for text in texts(await read(log)) if text != "2"] == [
        "1",
        "lost 1",
        "3",
        "4",
        "5",
    ]
    packed.write_bytes(b"no gzip at all")
    assert texts(await read(log, tail=4)) == ["1", "lost 1", "3", "4", "5"]


async def test_a_record_that_is_torn_at_the_end_is_no_line(log):
    """A full disk leaves half a record."""
    with log.open("ab") as file:
        file.write(record(6, b"stdout", b"F", b"torn")[:-3])
    assert texts(await read(log, tail=1)) == ["5"]
    rotate(log)
    pack(log.with_name("ctr.log.5"))
    assert texts(await read(log, tail=2)) == ["4", "5"]


async def test_what_was_compressed_is_what_was_written(log):
    assert gzip.decompress(log.with_name("ctr.log.1.gz").read_bytes()).endswith(b" stdout F 1\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    pieces=st.lists(st.one_of(st.binary(max_size=60), st.just(record(0, b"stdout", b"F", b"x")))),
    names=st.lists(st.sampled_from(["ctr.log", "ctr.log.1", "ctr.log.2.gz", "ctr.log.7"])),
    tail=st.integers(-1, 5),
)
async def test_whatever_is_in_the_files_reading_ends(tmp_path, pieces, names, tail):
    for entry in tmp_path.iterdir():
        entry.unlink()
    for name in names:
        (tmp_path / name).write_bytes(b"".join(pieces))
    found = await read(tmp_path / "ctr.log", tail=tail)
    assert all(line.lost or line.data for line in found)


async def test_no_log_is_an_empty_log(tmp_path):
    assert await read(tmp_path / "none" / "ctr.log", follow=True) == []


def test_query_bounds():
    line = LogLine(time_ns=10, stream="stdout", data=b"")
    assert Query(since_ns=10).takes(line)
    assert not Query(since_ns=11).takes(line)
    assert Query(until_ns=9).is_past(line)
    assert not Query(until_ns=10).is_past(line)
    assert not Query().is_past(line)
