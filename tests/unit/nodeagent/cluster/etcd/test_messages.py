"""etcd's messages. That the numbers are etcd's is shown by the kernel ring, against etcd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cluster.etcd.messages import (
    FIELDS,
    Malformed,
    message,
    method,
    parse_message,
    range_end,
)


def test_a_message_comes_back():
    put = message("PutRequest", key=b"a", value=b"\0\xff", lease=7)
    found = parse_message("PutRequest", put.SerializeToString())
    assert (found.key, found.value, found.lease) == (b"a", b"\0\xff", 7)


def test_known_bytes():
    # key 1 (bytes) "a", value 2 (bytes) "b", lease 3 (varint) 300
    data = bytes.fromhex("0a0161120162 18ac02".replace(" ", ""))
    assert message("PutRequest", key=b"a", value=b"b", lease=300).SerializeToString() == data


@given(st.sampled_from(sorted(FIELDS)), st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(name, data):
    try:
        parse_message(name, data)
    except Malformed:
        return


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_the_range_of_a_prefix_has_just_its_keys(prefix, key):
    end = range_end(prefix)
    assert (key >= prefix and (end == b"\0" or key < end)) == key.startswith(prefix) or (
        end == b"\0" and prefix.strip(b"\xff") == b""
    )


@pytest.mark.parametrize("name", ["Txn", "Watch", "UserAdd", "LeaseKeepAlive", "Snapshot"])
def test_methods_have_messages(name):
    path, request, answer = method(name)
    assert path.startswith("/etcdserverpb.")
    assert {request, answer} <= FIELDS.keys()
