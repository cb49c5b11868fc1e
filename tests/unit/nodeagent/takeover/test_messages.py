"""The words of a takeover: what is built is read, what is cut is joined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.keep import NAME_MAX_CHARS
from nodeagent.takeover import messages
from nodeagent.takeover.messages import (
    MESSAGE_BYTES,
    PIECE_FDS,
    PROTOCOL,
    Answer,
    Ask,
    Complete,
    NotSpoken,
    Piece,
    Refusal,
    Word,
)

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=NAME_MAX_CHARS)


@given(st.dictionaries(NAMES, st.integers(3, 1 << 20), max_size=600))
def test_a_bundle_is_cut_and_joined(fds):
    joined: dict[str, int] = {}
    for piece, part in messages.split(fds):
        packet = messages.build(piece)
        assert len(packet) <= MESSAGE_BYTES
        assert len(part) <= PIECE_FDS
        assert messages.join(joined, messages.parse(packet, Answer), part) == []
    assert joined == fds


def test_many_go_in_full_pieces():
    sizes = [len(part) for _, part in messages.split({f"n{n}": n for n in range(600)})]
    assert sizes == [253, 253, 94]


def test_surplus_descriptors_are_given_back_to_be_closed():
    joined = {"a": 7}
    assert messages.join(joined, Piece(names=("a", "b")), [8, 9, 10]) == [10, 7]
    assert joined == {"a": 8, "b": 9}


def test_too_few_descriptors_tell_what_to_raise():
    joined: dict[str, int] = {}
    with pytest.raises(NotSpoken, match="ulimit -n"):
        messages.join(joined, Piece(names=("a", "b")), [8])
    assert joined == {}


@pytest.mark.parametrize(
    "message", [Refusal("busy", "later"), Piece(("a",)), Complete(3, 1.5), Word()]
)
def test_what_is_built_is_read(message):
    assert messages.parse(messages.build(message), type(message)) == message


@pytest.mark.parametrize("packet", [b"", b"{}", b"\xff", b'{"type":"word","protocol":1}', b"[]"])
def test_other_bytes_are_not_spoken(packet):
    with pytest.raises(NotSpoken):
        messages.parse(packet, Ask)
    with pytest.raises(NotSpoken):
        messages.parse_protocol(packet)


def test_the_protocol_of_any_version_is_read():
    ask = Ask(protocol=PROTOCOL, version="0.1.0", root="/r", netns=5)
    assert messages.parse_protocol(messages.build(ask)) == PROTOCOL
    assert messages.parse_protocol(b'{"type":"ask","protocol":9,"colour":"red"}') == 9
