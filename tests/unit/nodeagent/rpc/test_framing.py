"""Frames: any split gives the same ones; bad ones are walked over or end the connection."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.rpc.errors import ProtocolError
from nodeagent.rpc.framing import Frames, Unreadable

pack = msgspec.msgpack.encode
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    scalars | st.text(max_size=40) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)
messages = st.tuples(st.just(0), st.integers(0, 2**32), st.text(max_size=9), values)


def cut(data, sizes):
    """Cut into pieces of these sizes, over and over."""
    pieces, index = [], 0
    while data:
        size = sizes[index % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
        index += 1
    return pieces


def feed(pieces, max_bytes=1 << 20):
    frames = Frames(max_bytes=max_bytes)
    return [frame for piece in pieces for frame in frames.feed(piece)]


@settings(max_examples=40)
@given(st.lists(messages, max_size=5), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_any_split_gives_the_same_frames(made, sizes):
    packed = [pack(message) for message in made]
    assert feed(cut(b"".join(packed), sizes)) == packed


@settings(max_examples=40)
@given(messages, values, messages, st.lists(st.integers(200, 9000), min_size=1, max_size=5))
def test_a_frame_too_large_is_walked_over(before, large, after, sizes):
    bad = pack([0, 7, "x", [{"pad": b"x" * 20_000, "more": large}]])
    pieces = cut(pack(before) + bad + pack(after), sizes)
    first, dropped, last = feed(pieces, max_bytes=15_000)
    assert (first, last) == (pack(before), pack(after))
    assert isinstance(dropped, Unreadable)
    assert bad.startswith(dropped.prefix)
    assert "15000" in dropped.reason


@settings(max_examples=40)
@given(messages, st.lists(st.integers(1, 900), min_size=1, max_size=5))
def test_a_frame_too_deep_is_walked_over(after, sizes):
    bad = b"\x94\x00\x07\xa1x" + b"\x91" * 3000 + b"\xc0"
    dropped, last = feed(cut(bad + pack(after), sizes))
    assert isinstance(dropped, Unreadable)
    assert dropped.reason == "nested too deep"
    assert last == pack(after)


@pytest.mark.parametrize(
    "value",
    [
        *(b"\xc0 \xc2 \xc3 \x7f \xff".split()),
        b"\xca" + b"1" * 4,
        b"\xcb" + b"1" * 8,
        *(bytes([0xCC + n]) + b"1" * 2**n for n in range(4)),
        *(bytes([0xD0 + n]) + b"1" * 2**n for n in range(4)),
        *(bytes([0xD4 + n]) + b"t" + b"1" * 2**n for n in range(5)),
        *(b"\xc7\x03t123", b"\xc8\x00\x03t123", b"\xc9\x00\x00\x00\x03t123"),
        *(b"\xc4\x03123", b"\xc5\x00\x03123", b"\xc6\x00\x00\x00\x03123"),
        *(b"\xd9\x03123", b"\xda\x00\x03123", b"\xdb\x00\x00\x00\x03123"),
        *(b"\xdc\x00\x02\xc0\xc0", b"\xdd\x00\x00\x00\x02\xc0\xc0"),
        *(b"\xde\x00\x01\xc0\xc0", b"\xdf\x00\x00\x00\x01\xc0\xc0", b"\x81\xa1a\x01"),
    ],
)
def test_the_walk_knows_every_type_of_msgpack(value):
    last = pack([2, "end", []])
    bad = b"\x94\x00\x07\xa1x" + b"\x92" * 1500 + b"\xc0" + value * 1500
    for size in (1, 7, 10**6):
        dropped, end = feed(cut(bad + last, [size]))
        assert isinstance(dropped, Unreadable)
        assert end == last


def test_a_frame_of_too_many_values_is_not_walked_over():
    frames = Frames(max_bytes=1000)
    endless = b"\x94\x00\x07\xa1x\xdd\x7f\xff\xff\xff" + b"\xc0" * 2000
    assert isinstance(next(frames.feed(endless)), Unreadable)
    with pytest.raises(ProtocolError):
        feed([endless, *[b"\xc0" * 10_000] * 20], max_bytes=1000)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\xc1", b"\x80", b"\x94\xc1", b"\x00"])
def test_other_protocols_are_refused_at_once(data):
    with pytest.raises(ProtocolError):
        feed([data])


def test_memory_is_bounded_while_a_huge_value_passes():
    frames = Frames(max_bytes=10_000)
    header = b"\x94\x00\x07\xa1x\xc6\x7f\xff\xff\xff"
    got = list(frames.feed(header))
    for _ in range(50):
        got += frames.feed(b"x" * 10_000)
    assert len(got) == 1
    assert len(frames._held) <= 10_000


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda b: b"\x94" + b))
def test_any_bytes_give_frames_or_a_protocol_error(data):
    with suppress(ProtocolError):
        for frame in feed(cut(data, [3, 50]), max_bytes=100):
            assert isinstance(frame, bytes | Unreadable)
