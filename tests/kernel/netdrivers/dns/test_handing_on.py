"""The sockets of a sandbox go from one server to the next; what was taken is answered."""

import os
import socket

import pytest
import trio
import trio.testing

from netdrivers.dns import namespace
from netdrivers.dns.server import DnsServer
from netdrivers.keep import Keep, dns_name
from tests.fakes.dns_client import (
    SERVER,
    ask,
    connect,
    data,
    frame,
    question,
    read_frames,
    sock,
    table,
)
from tests.fakes.upstream_dns import Upstream, reply_to


async def begin(nursery, keep, **options):
    server = DnsServer(keep=keep, deadline_s=3.0, **options)
    nursery.start_soon(server.run)
    await trio.testing.wait_all_tasks_blocked()
    return server


async def test_the_next_server_answers_on_the_same_sockets(netns, nursery):
    keep = Keep()
    first = await begin(nursery, keep)
    first.set_table(table())
    port = first.open("s", netns, 0)
    second = await begin(nursery, Keep(keep.copies()))
    second.set_table(table())
    assert second.open("s", netns, port) == port
    await first.drain()
    assert data(await ask(netns, port, "web"))[0].startswith("10.7.0.")
    async with await connect(netns, port) as stream:
        await stream.send_all(frame(question("web")))
        assert len(data((await read_frames(stream, 1))[0])) == 2
    assert second.statistics()["noerror", "local"] == 2


async def test_queries_wait_for_the_table(netns, nursery):
    """Also those that came before the server was there: an empty table would answer them wrong."""
    server = await begin(nursery, Keep())
    port = server.open("s", netns, 0)
    with sock(netns) as client:
        await client.connect((SERVER, port))
        client.setsockopt(socket.SOL_SOCKET, namespace.SO_RCVBUFFORCE, namespace.BUFFER_BYTES)
        for _ in range(1000):
            await client.send(question("web"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.statistics() == {}
        server.set_table(table())
        with trio.fail_after(5):
            for _ in range(1000):
                await client.recv(512)
    assert server.statistics()["noerror", "local"] == 1000


async def test_what_was_taken_is_answered_before_the_end(netns, nursery):
    """A forwarded query, and one on a connection that was accepted already."""
    up = Upstream("127.0.53.1")
    await nursery.start(up.run)
    keep = Keep()
    server = await begin(nursery, keep, upstream_port=up.port)
    server.set_table(table(up.address))
    port = server.open("s", netns, 0)
    answers, sent = [], []

    async def ask_far():
        answers.append(data(await ask(netns, port, "far.example")))

    async with await connect(netns, port) as stream, trio.open_nursery() as asking:
        await stream.send_all(frame(question("web"))[:7])
        asking.start_soon(ask_far)
        await trio.testing.wait_all_tasks_blocked(0.05)
        sent += up.asked
        asking.start_soon(server.drain)
        await trio.testing.wait_all_tasks_blocked(0.05)
        up.udp = lambda raw: [reply_to(raw, addresses=("192.0.2.1",))]
        await stream.send_all(frame(question("web"))[7:])
        assert len(data((await read_frames(stream, 1))[0])) == 2
        await stream.send_eof()
    assert len(sent) == 1
    assert answers == [["192.0.2.1"]]


@pytest.mark.parametrize("kind", ["udp", "tcp"])
async def test_half_a_pair_is_not_believed(netns, nursery, kind):
    keep = Keep()
    first = await begin(nursery, keep)
    port = first.open("s", netns, 0)
    copies = keep.copies()
    os.close(copies.pop(dns_name(kind, "s")))
    first.close("s")
    second = await begin(nursery, Keep(copies))
    second.set_table(table())
    assert second.open("s", netns, port) == port
    assert data(await ask(netns, port, "web"))


async def test_sockets_of_another_namespace_are_not_believed(netns, other_netns, nursery):
    keep = Keep()
    first = await begin(nursery, keep)
    port = first.open("s", other_netns, 0)
    second = await begin(nursery, Keep(keep.copies()))
    second.set_table(table())
    second.open("s", netns, port)
    assert data(await ask(netns, port, "web"))


async def test_what_is_closed_by_wish_is_told_and_what_ends_with_the_server_is_not(netns):
    dropped = []
    keep = Keep(on_drop=dropped.append)
    async with trio.open_nursery() as nursery:
        server = await begin(nursery, keep)
        server.set_table(table())
        server.open("s", netns, 0)
        server.close("s")
        assert sorted(dropped) == [dns_name("tcp", "s"), dns_name("udp", "s")]
        server.open("s", netns, 0)
        nursery.cancel_scope.cancel()
    assert len(dropped) == 2


def test_there_is_room_for_the_queries_of_a_restart(netns):
    udp, tcp = namespace.bind_pair(netns, 0)
    with udp, tcp:
        assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * namespace.BUFFER_BYTES
