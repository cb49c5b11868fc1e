"""What upstreams are not asked again, on real sockets and by a clock that the test turns."""

import socket
from pathlib import Path

import pytest
import trio
from dnslib import QTYPE, RCODE, RR, SOA, DNSRecord

from netdrivers.contract.names import DnsTable, DnsView
from netdrivers.dns import message, namespace
from netdrivers.dns.counts import Counts
from netdrivers.dns.forward import Forwarder
from netdrivers.dns.route import Route
from netdrivers.dns.server import DnsServer
from tests.fakes.dns_client import (
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

ONE, TWO = "192.0.2.1", "192.0.2.2"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def known(*addresses):
    return lambda raw: [reply_to(raw, addresses=addresses)]


def denied(raw):
    """NXDOMAIN that holds for 60 s."""
    reply = DNSRecord.parse(reply_to(raw, rcode="NXDOMAIN"))
    data = SOA("ns.example.", "root.example.", (1, 2, 3, 4, 60))
    reply.auth[:] = [RR("example.", QTYPE.SOA, rdata=data, ttl=900)]
    return [bytes(reply.pack())]


async def started(nursery, script, port=0, address="127.0.53.1"):
    made = Upstream(address, port, udp=script)
    await nursery.start(made.run)
    return made


async def serving(nursery, netns, clock, port, *addresses, deadline_s=1.0):
    server = DnsServer(upstream_port=port, deadline_s=deadline_s, now=clock)
    server.set_table(table(*addresses))
    nursery.start_soon(server.run)
    return server, server.open("s", netns, 0)


async def answer_inside(netns, address, port, script, task_status):
    """A name server on a loopback address of ``netns``."""
    with sock(netns) as listener:
        await listener.bind((address, port))
        task_status.started()
        while True:
            raw, peer = await listener.recvfrom(512)
            for reply in script(raw):
                await listener.sendto(reply, peer)


async def test_the_second_ask_sends_none_and_counts_down(netns, nursery, clock):
    up = await started(nursery, known(ONE))
    server, port = await serving(nursery, netns, clock, up.port, up.address)
    assert (await ask(netns, port, "example.com")).rr[0].ttl == 60
    seen = []
    for now in (1000.9, 1010.0, 1010.5, 1010.9, 1011.0, 1059.9):
        clock.now = now
        reply = await ask(netns, port, "eXAMPLE.com")
        assert (data(reply), str(reply.q.qname)) == ([ONE], "eXAMPLE.com.")
        seen.append(reply.rr[0].ttl)
    assert seen == [60, 50, 50, 50, 49, 1]
    assert len(up.asked) == 1
    assert server.statistics() == {("noerror", "forwarded"): 1, ("noerror", "cache"): 6}
    clock.now = 1060.0
    assert (await ask(netns, port, "example.com")).rr[0].ttl == 60
    assert len(up.asked) == 2


async def test_a_denial_is_kept_as_long_as_its_soa_says(netns, nursery, clock):
    up = await started(nursery, denied)
    server, port = await serving(nursery, netns, clock, up.port, up.address)
    await ask(netns, port, "nope.example")
    clock.now += 20
    reply = await ask(netns, port, "nope.example")
    assert (reply.header.rcode, reply.auth[0].ttl) == (RCODE.NXDOMAIN, 40)
    assert len(up.asked) == 1
    clock.now += 40
    await ask(netns, port, "nope.example")
    assert len(up.asked) == 2
    assert server.statistics()["nxdomain", "cache"] == 1


async def test_a_stream_gets_local_kept_and_forwarded_answers_in_order(netns, nursery, clock):
    up = await started(nursery, known(ONE))
    _, port = await serving(nursery, netns, clock, up.port, up.address)
    await ask(netns, port, "kept.example")
    names = ["web", "kept.example", "new.example", "web", "kept.example", "ghost.demo"] * 9
    async with await connect(netns, port) as stream:
        await stream.send_all(b"".join(frame(question(name)) for name in names))
        replies = await read_frames(stream, len(names))
    assert [str(each.q.qname).rstrip(".") for each in replies] == names
    assert {len(each.rr) for each in replies if str(each.q.qname) == "web."} == {2}
    assert {data(each)[0] for each in replies if str(each.q.qname) == "web."} == {
        "10.7.0.1",
        "10.7.0.2",
    }
    assert len(up.asked) == 3


@pytest.mark.parametrize("silent", [False, True], ids=["gone", "silent"])
async def test_without_its_upstream_an_old_answer_is_given(netns, nursery, clock, silent):
    up = Upstream("127.0.53.1", udp=known(ONE))
    async with trio.open_nursery() as life:
        await life.start(up.run)
        server, port = await serving(nursery, netns, clock, up.port, up.address)
        await ask(netns, port, "example.com")
        if not silent:
            life.cancel_scope.cancel()
        up.udp = None
        clock.now += 61
        asked = len(up.asked)
        reply = await ask(netns, port, "example.com")
        assert (data(reply), reply.rr[0].ttl) == ([ONE], 30)
        assert (await ask(netns, port, "new.example")).header.rcode == RCODE.SERVFAIL
        with trio.fail_after(0.5):  # it is not waited for again so soon
            assert data(await ask(netns, port, "example.com")) == [ONE]
        assert server.statistics()["noerror", "stale"] == 2
        assert silent == (len(up.asked) > asked)
        life.cancel_scope.cancel()
    back = await started(nursery, known(TWO), up.port)
    clock.now += 31
    assert data(await ask(netns, port, "example.com")) == [TWO]
    assert len(back.asked) == 1


async def test_an_old_answer_has_an_end(netns, nursery, clock):
    up = await started(nursery, known(ONE))
    _, port = await serving(nursery, netns, clock, up.port, up.address)
    await ask(netns, port, "example.com")
    up.udp = lambda raw: [reply_to(raw, rcode="SERVFAIL")]
    clock.now += 60 + 86_399
    assert data(await ask(netns, port, "example.com")) == [ONE]
    clock.now += 1
    assert (await ask(netns, port, "example.com")).header.rcode == RCODE.SERVFAIL


async def test_a_late_answer_is_for_the_next_asker(nursery, clock):
    up = await started(nursery, known(ONE))
    forwarder = Forwarder(Counts(), port=up.port, patience_s=0.05, now=clock)
    await nursery.start(forwarder.run)
    route = Route(upstreams=(up.address,), netns=None)
    query = message.parse_query(bytes(DNSRecord.question("example.com").pack()))
    await forwarder.ask("s", query, route, max_bytes=512)
    clock.now += 61
    up.udp = None
    told = await forwarder.ask("s", query, route, max_bytes=512)
    assert (told.source, len(up.asked)) == ("stale", 2)
    up.udp = known(TWO)  # what was sent is sent again after 1.3 s
    with trio.fail_after(4):
        while forwarder.recall(query, route) is None:
            await trio.testing.wait_all_tasks_blocked(0.02)
    told = await forwarder.ask("s", query, route, max_bytes=512)
    assert (told.source, data(DNSRecord.parse(told.reply))) == ("cache", [TWO])


async def test_one_question_of_many_is_asked_once(netns, nursery, clock):
    up = await started(nursery, None)
    server, port = await serving(nursery, netns, clock, up.port, up.address, deadline_s=3.0)
    raws = [bytes(question(name)) for name in ["example.com", "EXAMPLE.com"] * 10]
    with sock(netns) as client, trio.fail_after(5):
        await client.connect(("127.0.0.11", port))
        for raw in raws:
            await client.send(raw)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(up.asked) == 1
        up.udp = known(ONE)  # answers when it is asked again
        replies = [await client.recv(512) for _ in raws]
    # each in its own case and under its own id
    assert {each[:2] + each[12:29] for each in replies} == {raw[:2] + raw[12:] for raw in raws}
    assert all(data(DNSRecord.parse(each)) == [ONE] for each in replies)
    assert len(up.asked) == 2
    assert server.statistics() == {("noerror", "forwarded"): 20}


async def test_who_asked_first_may_go(netns, other_netns, nursery, clock):
    up = await started(nursery, None)
    server, port = await serving(nursery, netns, clock, up.port, up.address, deadline_s=3.0)
    view = DnsView(zones=(), upstreams=(up.address,))
    server.set_table(DnsTable(views={"s": view, "t": view}))
    other = server.open("t", other_netns, 0)
    with sock(netns) as first, sock(other_netns) as second, trio.fail_after(5):
        await first.connect(("127.0.0.11", port))
        await first.send(question("example.com"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        await second.connect(("127.0.0.11", other))
        await second.send(question("example.com"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        server.close("s")
        up.udp = known(ONE)
        assert data(DNSRecord.parse(await second.recv(512))) == [ONE]
    assert len(up.asked) == 2  # one question, sent again once


async def test_what_is_heard_inside_stays_inside(netns, other_netns, nursery, clock):
    """Both ask 127.0.53.9, each its own."""
    server, port = await serving(nursery, netns, clock, 5399)
    view = DnsView(zones=(), upstreams=("127.0.53.9",), upstreams_in_sandbox=True)
    server.set_table(DnsTable(views={"s": view, "t": view}))
    other = server.open("t", other_netns, 0)
    for where, address in ((netns, ONE), (other_netns, TWO)):
        await nursery.start(answer_inside, where, "127.0.53.9", 5399, known(address))
    for _ in range(2):
        assert data(await ask(netns, port, "example.com")) == [ONE]
        assert data(await ask(other_netns, other, "example.com")) == [TWO]
    assert server.statistics() == {("noerror", "forwarded"): 2, ("noerror", "cache"): 2}


async def test_a_sandbox_opened_anew_knows_nothing_of_the_last_one(netns, nursery, clock):
    server, _ = await serving(nursery, netns, clock, 5398)
    server.set_table(table("127.0.53.9", inside=True))
    await nursery.start(answer_inside, netns, "127.0.53.9", 5398, known(ONE))
    for _ in range(2):
        port = server.open("s", netns, 0)
        await ask(netns, port, "example.com")
    assert server.statistics() == {("noerror", "forwarded"): 2}


async def test_a_view_without_upstreams_gets_nothing_kept(netns, nursery, clock):
    up = await started(nursery, known(ONE))
    server, port = await serving(nursery, netns, clock, up.port, up.address)
    await ask(netns, port, "example.com")
    await ask(netns, port, "example.com")
    server.set_table(table())
    assert (await ask(netns, port, "example.com")).header.rcode == RCODE.SERVFAIL
    async with await connect(netns, port) as stream:
        await stream.send_all(frame(question("example.com")))
        [reply] = await read_frames(stream, 1)
    assert reply.header.rcode == RCODE.SERVFAIL
    assert len(up.asked) == 1


async def test_new_upstreams_are_asked_anew(netns, nursery, clock):
    """As when the host's resolv.conf changes."""
    up = await started(nursery, known(ONE))
    after = await started(nursery, known(TWO), up.port, "127.0.53.2")
    server, port = await serving(nursery, netns, clock, up.port, up.address)
    assert data(await ask(netns, port, "example.com")) == [ONE]
    server.set_table(table(after.address))
    assert data(await ask(netns, port, "example.com")) == [TWO]
    server.set_table(table(up.address))
    await ask(netns, port, "example.com")
    assert (len(up.asked), len(after.asked)) == (2, 1)
    server.set_table(table(up.address, web=()))  # another change leaves what is kept
    await ask(netns, port, "example.com")
    assert len(up.asked) == 2


@pytest.mark.parametrize("inside", [False, True], ids=["of the host", "inside"])
async def test_a_link_local_upstream_is_asked_through_its_link(host, nursery, clock, inside):
    host.sh("ip addr add fe80::51/64 dev up0 nodad")
    with host.inside(host.outside):
        host.sh("ip addr add fe80::52/64 dev up1 nodad")
    outside = Path(f"/proc/self/fd/{host.outside}")
    # the sandbox's link is unknown by this name where the agent is
    where, listens, link = (None, "fe80::51", "up1") if inside else (outside, "fe80::52", "up0")
    netns = outside if inside else Path("/proc/thread-self/ns/net")
    host.sh("ip link set lo up")
    with namespace.make_socket(where, socket.AF_INET6, socket.SOCK_DGRAM) as made:
        scope = namespace.index_of(where, "up0" if inside else "up1")
        made.bind((listens, 0, 0, scope))
        listener = trio.socket.from_stdlib_socket(made)

        async def answer():
            raw, peer = await listener.recvfrom(512)
            await listener.sendto(reply_to(raw, addresses=(ONE,)), peer)

        nursery.start_soon(answer)
        upstream_port = made.getsockname()[1]
        # a new link may lose a first packet, so there is time to send it again
        server, port = await serving(nursery, netns, clock, upstream_port, deadline_s=4.0)
        server.set_table(table(f"{listens}%{link}", inside=inside))
        for _ in range(2):
            assert data(await ask(netns, port, "example.com")) == [ONE]
    assert server.statistics() == {("noerror", "forwarded"): 1, ("noerror", "cache"): 1}
