"""The server on real sockets, asked from inside a namespace for what it knows itself."""

import errno
import os
import resource
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from dnslib import RCODE, DNSRecord

from netdrivers.contract.names import DnsTable, DnsZone
from netdrivers.dns import namespace
from netdrivers.dns.server import DnsServer
from netdrivers.errors import Missing
from tests.fakes.dns_client import (
    SERVER,
    ask,
    ask_raw,
    connect,
    data,
    frame,
    question,
    read_frames,
    sock,
    table,
)


@pytest.fixture
async def dns(nursery):
    server = DnsServer(deadline_s=1.0)
    nursery.start_soon(server.run)
    await trio.testing.wait_all_tasks_blocked()
    return server


def descriptors():
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


# --- local names ----------------------------------------------------------------------------


async def test_names_are_answered_inside_and_turn(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    replies = [await ask(netns, port, "wEb") for _ in range(4)]
    assert [data(each)[0] for each in replies] == ["10.7.0.1", "10.7.0.2"] * 2
    assert {str(each.q.qname) for each in replies} == {"wEb."}
    assert 0 < replies[0].rr[0].ttl <= 5
    assert data(await ask(netns, port, "web.demo", "AAAA")) == ["fd00::7"]
    assert data(await ask(netns, port, "1.0.7.10.in-addr.arpa", "PTR")) == ["web.demo."]
    assert dns.statistics()["noerror", "local"] == 6
    assert dns.latency()[1][-1] == 6


async def test_the_sockets_are_only_in_the_sandbox(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    with sock(None) as client:
        await client.connect((SERVER, port))
        await client.send(question("web"))
        with pytest.raises(ConnectionRefusedError), trio.fail_after(5):
            await client.recv(512)


async def test_a_known_name_without_the_type_is_empty_and_an_unknown_fails(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    empty, unknown = await ask(netns, port, "web", "MX"), await ask(netns, port, "ghost")
    assert (empty.header.rcode, empty.rr) == (RCODE.NOERROR, [])
    assert unknown.header.rcode == RCODE.SERVFAIL
    assert unknown.header.ra == 1
    assert dns.statistics() == {("nodata", "local"): 1, ("servfail", "local"): 1}


async def test_the_very_next_query_sees_a_new_table(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    await ask(netns, port, "web")
    dns.set_table(table(web=(ip_address("10.9.9.9"),)))
    assert data(await ask(netns, port, "web")) == ["10.9.9.9"]
    dns.set_table(DnsTable())
    assert (await ask(netns, port, "web")).header.rcode == RCODE.SERVFAIL


async def test_garbage_is_survived(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    with sock(netns) as client:
        await client.connect((SERVER, port))
        for noise in (b"", b"\0", b"a" * 11, b"ab\x80" + bytes(20), os.urandom(3000)[:2] + b"\x80"):
            await client.send(noise)
    reply = await ask_raw(netns, port, b"\0\1" + bytes(40))
    assert reply[3] & 0xF == RCODE.FORMERR
    assert data(await ask(netns, port, "web"))


async def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp(dns, netns):
    many = tuple(ip_address(f"10.7.{n // 250}.{n % 250 + 1}") for n in range(300))
    dns.set_table(table(web=many))
    port = dns.open("s", netns, 0)
    for size, edns in ((512, None), (1232, 1232)):
        raw = await ask_raw(netns, port, question("web", edns=edns))
        assert len(raw) <= size
        assert DNSRecord.parse(raw).header.tc == 1
        assert len(DNSRecord.parse(raw).rr) > (size - 60) // 16 - 2
    async with await connect(netns, port) as stream:
        await stream.send_all(frame(question("web")))
        [whole] = await read_frames(stream, 1)
    assert (len(whole.rr), whole.header.tc) == (300, 0)


async def test_another_networks_change_leaves_what_is_prepared(dns, netns):
    """The turn of the addresses goes on: nothing was made anew."""
    first = table()
    dns.set_table(first)
    port = dns.open("s", netns, 0)
    seen = [data(await ask(netns, port, "web"))[0]]
    other = DnsZone(name="other", names={}, reverse={})
    dns.set_table(DnsTable(zones={**first.zones, "m": other}, views=dict(first.views)))
    seen.append(data(await ask(netns, port, "web"))[0])
    assert seen == ["10.7.0.1", "10.7.0.2"]


async def test_who_is_not_ready_is_an_error_with_a_reason(dns, netns):
    dns.set_table(table(ready=False))
    port = dns.open("s", netns, 0)
    for edns, options in ((1232, [(15, b"\0\x0e")]), (None, [])):
        reply = await ask(netns, port, "web", edns=edns)
        assert (reply.header.rcode, reply.rr) == (RCODE.SERVFAIL, [])
        assert [(each.code, each.data) for opt in reply.ar for each in opt.rdata] == options
    assert len(data(await ask(netns, port, "all.web"))) == 2
    assert data(await ask(netns, port, "1.0.7.10.in-addr.arpa", "PTR")) == ["web.demo."]
    assert dns.statistics()["servfail", "local"] == 2
    async with await connect(netns, port) as stream:
        await stream.send_all(frame(question("web", edns=1232)))
        [reply] = await read_frames(stream, 1)
    assert reply.ar[0].rdata[0].data == b"\0\x0e"


async def test_a_port_is_found_with_the_addresses_beside(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    reply = await ask(netns, port, "_HTTP._tcp.web", "SRV")
    assert [str(each.rdata) for each in reply.rr] == ["0 0 80 web.demo."]
    assert [str(each.rdata) for each in reply.ar] == ["10.7.0.1", "10.7.0.2", "fd00::7"]
    assert {str(each.rname) for each in reply.ar} == {"web.demo."}
    assert str(reply.q.qname) == "_HTTP._tcp.web."
    missing = await ask(netns, port, "_ftp._tcp.web", "SRV")
    assert missing.header.rcode == RCODE.NXDOMAIN


# --- tcp ------------------------------------------------------------------------------------


async def test_pipelined_and_split_frames(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    stream_bytes = b"".join(frame(question(name)) for name in ("web", "ghost", "web.demo"))
    async with await connect(netns, port) as stream:
        for cut in (stream_bytes[:1], stream_bytes[1:30], stream_bytes[30:]):
            await stream.send_all(cut)
            await trio.testing.wait_all_tasks_blocked()
        codes = [each.header.rcode for each in await read_frames(stream, 3)]
    assert codes == [RCODE.NOERROR, RCODE.SERVFAIL, RCODE.NOERROR]


async def test_a_promised_frame_that_never_comes_costs_nothing(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    async with await connect(netns, port) as stream:
        await stream.send_all(struct.pack("!H", 60))
    before = resource.getrusage(resource.RUSAGE_SELF)
    await trio.sleep(0.3)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.1
    async with await connect(netns, port) as stream:
        await stream.send_all(frame(question("web")))
        assert len(await read_frames(stream, 1)) == 1


async def test_connections_are_bounded(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    streams = [await connect(netns, port) for _ in range(33)]
    with trio.fail_after(5):
        assert await streams[-1].receive_some() == b""
    for each in streams:
        await each.aclose()
    assert data(await ask(netns, port, "web"))


# --- open, close ----------------------------------------------------------------------------


async def test_the_next_server_takes_the_same_port(netns, nursery):
    first = DnsServer()
    first.set_table(table())
    port = first.open("s", netns, 0)
    async with trio.open_nursery() as inner:
        inner.start_soon(first.run)
        async with await connect(netns, port) as stream:
            await stream.send_all(frame(question("web")))
            await read_frames(stream, 1)
            inner.cancel_scope.cancel()
    second = DnsServer()
    second.set_table(table())
    assert second.open("s", netns, port) == port
    nursery.start_soon(second.run)
    assert data(await ask(netns, port, "web"))


async def test_a_taken_port_gives_another(dns, netns):
    dns.set_table(table())
    with namespace.make_socket(netns, socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind((SERVER, 0))
        port = dns.open("s", netns, taken.getsockname()[1])
        assert port != taken.getsockname()[1]
    assert data(await ask(netns, port, "web"))


async def test_a_closed_sandbox_refuses_and_closing_twice_is_fine(dns, netns):
    dns.set_table(table())
    port = dns.open("s", netns, 0)
    fds = len(descriptors())
    assert data(await ask(netns, port, "web"))
    dns.close("s")
    dns.close("s")
    with pytest.raises(ConnectionRefusedError):
        await ask(netns, port, "web")
    await trio.testing.wait_all_tasks_blocked()
    assert len(descriptors()) == fds - 2


async def test_closing_at_once_is_fine(dns, netns):
    dns.open("s", netns, 0)
    dns.close("s")
    dns.open("s", netns, 0)
    dns.open("s", netns, 0)
    await trio.testing.wait_all_tasks_blocked()


async def test_closing_while_queries_come_is_fine(dns, netns):
    """Whether the server or the closer runs first is by chance, hence the rounds."""
    dns.set_table(table())
    for _ in range(30):
        port = dns.open("s", netns, 0)
        await trio.testing.wait_all_tasks_blocked()
        datagrams = namespace.make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM)
        stream = namespace.make_socket(netns, socket.AF_INET, socket.SOCK_STREAM)
        with datagrams, stream:
            datagrams.sendto(question("web"), (SERVER, port))
            assert stream.connect_ex((SERVER, port)) in {0, errno.EINPROGRESS}
            await trio.lowlevel.checkpoint()
            dns.close("s")
            await trio.testing.wait_all_tasks_blocked()


async def test_no_such_namespace_is_said_and_leaves_no_socket(dns):
    fds = descriptors()
    with pytest.raises(Missing, match="no-such-one"):
        dns.open("s", Path("/run/netns/no-such-one"), 0)
    assert descriptors() == fds
