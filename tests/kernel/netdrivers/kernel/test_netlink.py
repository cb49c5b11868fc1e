"""Batches, errors and dumps on a real socket."""

import errno
import socket

import pytest

from netdrivers.errors import Refused
from netdrivers.kernel import codec, nfcodec
from netdrivers.kernel.access import FILTER
from netdrivers.kernel.codec import LinkChange
from netdrivers.kernel.netlink import CHUNK, Netlink


@pytest.fixture
def route(host):
    made = Netlink(socket.NETLINK_ROUTE)
    yield made
    made.close()


def bridge(number: int):
    return codec.add_bridge(f"b{number}", mac="02:00:00:00:00:01")


def test_one_reply_per_request_in_order_errors_included(route):
    replies = route.ask([bridge(1), bridge(1), codec.get_link("b1"), codec.get_link("b2")])
    assert [reply.errno for reply in replies] == [0, errno.EEXIST, 0, errno.ENODEV]
    assert "File exists" in replies[1].text
    assert codec.parse_link(replies[2].messages[0][1]).name == "b1"


def test_more_than_a_chunk_and_a_dump_of_many_parts(route):
    replies = route.ask([bridge(number) for number in range(CHUNK + 20)])
    assert not any(reply.errno for reply in replies)
    links = {codec.parse_link(body).name for _, body in route.dump(codec.dump_links())}
    assert {f"b{number}" for number in range(CHUNK + 20)} <= links


def test_the_kernels_own_words_are_kept(route):
    _, reply, _ = route.ask([bridge(1), *codec.set_link("b1", LinkChange(mtu_bytes=1 << 30))])
    assert reply.errno
    assert ":" in reply.text


def test_a_refused_dump_is_an_error(host):
    sock = Netlink(FILTER)
    try:
        with pytest.raises(Refused):
            sock.dump(nfcodec.dump_elements("no-table", "no-set"))
    finally:
        sock.close()


def test_answers_to_an_earlier_write_are_not_taken_for_ours(route):
    route._sock.send(route._pack(codec.get_link("lo")))  # as after a write nobody waited for
    (reply,) = route.ask([codec.get_link("no-such")])
    assert reply.errno == errno.ENODEV
    assert reply.messages == []
