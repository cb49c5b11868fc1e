import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.detach import DetachFilter, parse_keys
from nodeagent.cli.grammar import UsageError


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("", b"\x10\x11"), ("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-A", b"\x01"), ("x,y", b"xy"),
     ("ctrl-@", b"\x00"), ("ctrl-[", b"\x1b"), ("ctrl-_", b"\x1f"), ("ctrl-a,d", b"\x01d")],
)  # fmt: skip
def test_keys(words, wanted):
    assert parse_keys(words) == wanted


@pytest.mark.parametrize("words", ["ctrl-", "ctrl-1", "ctrl-ab", "ab", "a,,b", "é", "alt-x"])
def test_bad_keys(words):
    with pytest.raises(UsageError, match=r"^--detach-keys: "):
        parse_keys(words)


@pytest.mark.parametrize(
    ("pieces", "passed", "is_left"),
    [
        ([b"ls\n"], b"ls\n", False),
        ([b"\x10\x11"], b"", True),
        ([b"ab\x10", b"\x11cd"], b"ab", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x10"], b"", False),
    ],
)
def test_incomplete_keys_are_passed_through(pieces, passed, is_left):
    found, out = DetachFilter(b"\x10\x11"), b""
    for piece in pieces:
        data, left = found.feed(piece)
        out += data
    assert (out, left) == (passed, is_left)


@given(st.text("ab", max_size=30), st.text("ab", min_size=1, max_size=4), st.integers(1, 5))
def test_any_cut_finds_the_keys_where_they_first_are(typed, keys, size):
    data, wanted = typed.encode(), keys.encode()
    found, out, left = DetachFilter(wanted), b"", False
    for at in range(0, len(data), size):
        piece, left = found.feed(data[at : at + size])
        out += piece
        if left:
            break
    assert left == (wanted in data)
    before = data[: data.find(wanted)] if left else data
    assert before.startswith(out)
    assert left is False or out == before
