import io
from datetime import UTC, datetime

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runtime.container import logfile
from runtime.container.logfile import Joiner, Query, find_tail, parse_record, rotate
from runtime.contract.container import LogLine

STAMP = b"2026-11-23T20:00:0%d.123456789+00:00"
T0 = int(datetime(2026, 11, 23, 20, tzinfo=UTC).timestamp())


def record(second, stream, tag, data):
    return STAMP % second + b" " + stream + b" " + tag + b" " + data + b"\n"


lines = st.lists(
    st.tuples(
        st.sampled_from([b"stdout", b"stderr"]),
        st.lists(st.binary(max_size=5).map(lambda b: b.replace(b"\n", b".")), max_size=3),
        st.binary(max_size=20).map(lambda b: b.replace(b"\n", b".")),
    ),
    max_size=12,
)


def render(wanted):
    return b"".join(
        b"".join(record(0, stream, b"P", part) for part in parts) + record(0, stream, b"F", last)
        for stream, parts, last in wanted
    )


@pytest.mark.parametrize(
    ("text", "offset_s"),
    [
        (b"2026-11-23T20:00:00.000000001+00:00", 0),
        (b"2026-11-23T20:00:00.000000001Z", 0),
        (b"2026-11-23T22:00:00.000000001+02:00", 0),
        (b"2026-11-23T14:30:00.000000001-05:30", 0),
        (b"2026-11-23T20:00:01.000000001+00:00", 1),
    ],
)
def test_times_of_all_zones(text, offset_s):
    found = parse_record(text + b" stdout F hello")
    assert found.time_ns == (T0 + offset_s) * 10**9 + 1
    assert (found.stream, found.whole, found.data) == ("stdout", True, b"hello")


@given(st.binary(max_size=80))
def test_garbage_is_no_record(line):
    assert parse_record(line) is None or line[:4].isdigit()


@pytest.mark.parametrize("line", [b"2026-13-45T20:00:00.1+00:00 stdout F x", b"", b"\0" * 40])
def test_impossible_records(line):
    assert parse_record(line) is None


@given(lines, st.integers(1, 40))
def test_parts_are_joined_however_the_bytes_come(wanted, size):
    raw = render(wanted)
    joiner = Joiner()
    found = [x for i in range(0, len(raw), size) for x in joiner.feed(raw[i : i + size])]
    assert [(line.stream.encode(), line.data) for line in found] == [
        (stream, b"".join(parts) + last + b"\n") for stream, parts, last in wanted
    ]
    assert list(joiner.flush()) == []


def test_streams_do_not_mix_and_an_open_line_is_flushed_without_newline():
    joiner = Joiner()
    raw = (
        record(1, b"stdout", b"P", b"a")
        + record(2, b"stderr", b"F", b"e")
        + record(3, b"stdout", b"P", b"b")
    )
    assert [line.data for line in joiner.feed(raw)] == [b"e\n"]
    assert [line.data for line in joiner.flush()] == [b"ab"]
    assert list(joiner.flush()) == []


def test_endless_line_comes_in_pieces_and_is_not_kept():
    joiner = Joiner()
    part = record(0, b"stdout", b"P", b"x" * 8000)
    pieces = [line for _ in range(400) for line in joiner.feed(part)]
    assert len(pieces) == 3
    assert all(len(line.data) < (1 << 20) + 8001 for line in pieces)


def test_torn_write_is_skipped():
    raw = record(0, b"stdout", b"F", b"a") + b"\0\0\0\n" + record(0, b"stdout", b"F", b"b")
    assert [line.data for line in Joiner().feed(raw)] == [b"a\n", b"b\n"]


@given(lines, st.integers(0, 15), st.sampled_from([7, 64, 1 << 16]))
def test_tail_is_the_end_of_the_whole(wanted, count, chunk):
    raw = render(wanted)
    before, logfile.CHUNK_BYTES = logfile.CHUNK_BYTES, chunk
    try:
        offset, found = find_tail(io.BytesIO(raw), count)
    finally:
        logfile.CHUNK_BYTES = before
    assert found == min(count, len(wanted))
    assert list(Joiner().feed(raw[offset:])) == list(Joiner().feed(raw))[len(wanted) - found :]


def test_tail_reads_only_the_end():
    class Counting(io.BytesIO):
        total = 0

        def read(self, size=-1):
            self.total += size
            return super().read(size)

    file = Counting(render([(b"stdout", [], b"x" * 50)] * 20000))
    assert find_tail(file, 10)[1] == 10
    assert file.total <= 2 * logfile.CHUNK_BYTES


async def read(path, **query):
    async def ended():
        return None

    limiter = trio.CapacityLimiter(1)
    got = logfile.read_log(path, Query(**query), ended, limiter=limiter, now_ns=lambda: 0)
    return [line async for line in got]


async def test_rotated_files_are_read_oldest_first(tmp_path):
    log = tmp_path / "ctr.log"
    for number in range(5):
        log.write_bytes(record(number, b"stdout", b"F", b"%d" % number))
        if number < 4:
            rotate(log, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ctr.log"] + [
        f"ctr.log.{n}" for n in (1, 2, 3)
    ]
    assert [line.data for line in await read(log)] == [b"1\n", b"2\n", b"3\n", b"4\n"]
    assert [line.data for line in await read(log, tail=2)] == [b"3\n", b"4\n"]
    rotate(log, 0)
    assert list(tmp_path.iterdir()) == []


async def test_no_log_is_an_empty_log(tmp_path):
    assert await read(tmp_path / "none" / "ctr.log", follow=True) == []


def test_query_bounds():
    line = LogLine(time_ns=10, stream="stdout", data=b"")
    assert Query(since_ns=10).takes(line)
    assert not Query(since_ns=11).takes(line)
    assert Query(until_ns=9).is_past(line)
    assert not Query(until_ns=10).is_past(line)
    assert not Query().is_past(line)
