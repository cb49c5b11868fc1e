from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.logs import Cursor
from runtime.logs.record import Joiner, is_whole, parse_record

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


def test_whole_and_part():
    assert is_whole(record(0, b"stdout", b"F", b"a")[:-1]) is True
    assert is_whole(record(0, b"stdout", b"P", b"a")[:-1]) is False
    assert is_whole(b"\0torn") is None


@given(lines, st.integers(0, 12), st.integers(1, 40))
def test_going_on_at_a_cursor_misses_nothing(wanted, number, size):
    raw = render(wanted)
    whole = list(Joiner(7).feed(raw))
    taken = whole[: number + 1]
    if not taken:
        return
    cursor = taken[-1].cursor
    assert cursor.generation == 7
    rest = Joiner(7, cursor.offset)
    data = raw[cursor.offset :]
    again = [x for i in range(0, len(data), size) for x in rest.feed(data[i : i + size])]
    assert again == whole[len(taken) :]


def test_a_cursor_stays_before_a_line_that_is_open_on_the_other_stream():
    joiner = Joiner(3, 100)
    part = record(0, b"stderr", b"P", b"a")
    (line,) = joiner.feed(part + record(0, b"stdout", b"F", b"b"))
    assert line.cursor == Cursor(generation=3, offset=100)
    joiner.begin(4)
    last = record(0, b"stderr", b"F", b"c")
    (line,) = joiner.feed(last)
    assert (line.data, line.cursor) == (b"ac\n", Cursor(generation=4, offset=len(last)))


def test_a_torn_end_does_not_swallow_the_first_line_of_the_next_file():
    joiner = Joiner(1)
    assert list(joiner.feed(b"2026-11-23T20:00:00.1+00:00 std")) == []
    joiner.begin(2)
    assert [line.data for line in joiner.feed(record(0, b"stdout", b"F", b"x"))] == [b"x\n"]
