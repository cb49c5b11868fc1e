"""gRPC's framing and status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cluster.etcd.grpc import (
    MESSAGE_MAX_BYTES,
    Broken,
    Frames,
    build_frame,
    build_headers,
    parse_status,
    status_error,
)


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 7))
def test_messages_come_out_whole_however_they_are_cut(messages, step):
    data, frames = b"".join(map(build_frame, messages)), Frames()
    found = [each for at in range(0, len(data), step) for each in frames.feed(data[at : at + step])]
    assert found == messages


@pytest.mark.parametrize(
    "head", [b"\1\0\0\0\1", b"\0" + (MESSAGE_MAX_BYTES + 1).to_bytes(4, "big")]
)
def test_compressed_or_too_large_is_refused_before_it_has_come(head):
    with pytest.raises(Broken):
        list(Frames().feed(head))


def test_status():
    headers = [("grpc-status", "14"), ("grpc-message", "etcdserver: no%20leader")]
    assert parse_status(headers) == (14, "etcdserver: no leader")
    assert parse_status([(":status", "200")]) is None
    assert parse_status([("grpc-status", "²")]) is None


@pytest.mark.parametrize(
    ("code", "kind"), [(14, "unavailable"), (7, "refused"), (3, "invalid"), (99, "internal")]
)
def test_errors_have_our_kinds(code, kind):
    assert status_error(code, "why", "ask").kind == kind


def test_a_watch_asks_to_be_ended_without_a_leader():
    assert ("hasleader", "true") in build_headers("/x", "h:1", has_leader=True)
    assert ("hasleader", "true") not in build_headers("/x", "h:1", has_leader=False)
