"""Ways to collectors, and how they break."""

import socket

import pytest
import trio

from runtime.contract.shipping import Endpoint
from runtime.errors import Unavailable
from runtime.logs import wire
from runtime.logs.wire import open_wire


async def send(way, *pieces):
    for piece in pieces:
        await way.send(piece)
        await way.settle()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def tcp(listener):
    return Endpoint(kind="tcp", host="127.0.0.1", port=listener.getsockname()[1])


async def test_a_stream_is_settled_when_the_other_side_has_it(listener):
    async with open_wire(tcp(listener)) as way:
        peer, _ = listener.accept()
        with peer:
            await way.send(b"x" * 1000)
            await way.settle()
            assert peer.recv(2000, socket.MSG_DONTWAIT) == b"x" * 1000


async def test_one_that_hung_up_is_noticed_before_anything_is_lost(listener):
    async with open_wire(tcp(listener)) as way:
        peer, _ = listener.accept()
        await way.send(b"a")
        peer.close()
        with pytest.raises(Unavailable):
            await send(way, b"b", b"c")


async def test_one_that_reads_nothing_is_given_up(listener, monkeypatch):
    monkeypatch.setattr(wire, "SEND_S", 0.2)
    async with open_wire(tcp(listener)) as way:
        peer, _ = listener.accept()
        with peer, pytest.raises(Unavailable, match=r"within_s=0\.2"):
            await way.send(b"x" * (64 << 20))


async def test_a_unix_stream_is_settled_when_it_was_read(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with open_wire(Endpoint(kind="unix", path=str(path))) as way:
            peer, _ = listener.accept()
            with peer:
                await way.send(b"abc")
                with trio.move_on_after(0.1) as scope:
                    await way.settle()
                assert scope.cancelled_caught
                assert peer.recv(10) == b"abc"
                await way.settle()


async def test_datagrams_to_nobody(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with open_wire(Endpoint(kind="udp", host="127.0.0.1", port=port)) as way:
        with pytest.raises(Unavailable, match="collector"):
            await send(way, b"x")
