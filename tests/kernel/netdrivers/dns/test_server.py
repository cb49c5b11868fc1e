"""The server on real sockets: asked from inside a namespace, its upstreams outside or inside."""

import os
import resource
import socket
import struct
import subprocess
import sys
import uuid
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from dnslib import EDNS0, QTYPE, RCODE, DNSRecord

sys.path.insert(0, str(Path(__file__).parents[3]))

from fakes.upstream_dns import Upstream, reply_to, truncated

from netdrivers.contract import DnsTable, DnsView, DnsZone
from netdrivers.dns import namespace
from netdrivers.dns.server import DnsServer
from netdrivers.errors import Missing

SERVER = "127.0.0.11"
WEB = (ip_address("10.7.0.1"), ip_address("10.7.0.2"), ip_address("fd00::7"))


@pytest.fixture
def netns():
    name = f"dnst{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
async def dns(nursery):
    server = DnsServer(deadline_s=1.0)
    nursery.start_soon(server.run)
    await trio.testing.wait_all_tasks_blocked()
    return server


def table(*upstreams, inside=False, web=WEB):
    zone = DnsZone(name="demo", names={"web": web}, reverse=dict.fromkeys(web, "web"))
    view = DnsView(zones=("n",), upstreams=upstreams, upstreams_in_sandbox=inside)
    return DnsTable(zones={"n": zone}, views={"s": view})


def question(name, qtype="A", edns=None):
    record = DNSRecord.question(name, qtype)
    if edns:
        record.add_ar(EDNS0(udp_len=edns))
    return record.pack()


def sock(netns, kind=socket.SOCK_DGRAM):
    return trio.socket.from_stdlib_socket(namespace.make_socket(netns, socket.AF_INET, kind))


def descriptors():
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


async def ask_raw(netns, port, raw):
    with sock(netns) as client, trio.fail_after(5):
        await client.connect((SERVER, port))
        await client.send(raw)
        return await client.recv(65535)


async def ask(netns, port, name, qtype="A", edns=None):
    return DNSRecord.parse(await ask_raw(netns, port, question(name, qtype, edns)))


async def connect(netns, port):
    client = sock(netns, socket.SOCK_STREAM)
    await client.connect((SERVER, port))
    return trio.SocketStream(client)


async def read_frames(stream, count):
    buffer, found = b"", []
    with trio.fail_after(5):
        while len(found) < count:
            buffer += await stream.receive_some()
            while len(buffer) > 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2]):
                end = 2 + int.from_bytes(buffer[:2])
                found.append(DNSRecord.parse(buffer[2:end]))
                buffer = buffer[end:]
    return found


def frame(raw):
    return len(raw).to_bytes(2) + raw


def data(reply):
    return [str(each.rdata) for each in reply.rr]


async def upstream(nursery, address="127.0.53.1", port=0, **script):
    made = Upstream(address, port, **script)
    await nursery.start(made.run)
    return made


async def with_upstreams(nursery, netns, port, *addresses):
    """A server whose upstreams listen on ``port``, already open."""
    server = DnsServer(upstream_port=port, deadline_s=1.0)
    server.set_table(table(*addresses))
    nursery.start_soon(server.run)
    return server, server.open("s", netns, 0)


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


async def test_no_such_namespace_is_said_and_leaves_no_socket(dns):
    fds = descriptors()
    with pytest.raises(Missing, match="no-such-one"):
        dns.open("s", Path("/run/netns/no-such-one"), 0)
    assert descriptors() == fds


# --- upstreams ------------------------------------------------------------------------------


async def test_the_rest_is_forwarded(netns, nursery):
    up = await upstream(nursery, udp=lambda raw: [reply_to(raw, addresses=("192.0.2.1",))])
    server, port = await with_upstreams(nursery, netns, up.port, up.address)
    replies = [await ask(netns, port, "Example.COM") for _ in range(8)]
    assert {tuple(data(each)) for each in replies} == {("192.0.2.1",)}
    assert server.statistics() == {("noerror", "forwarded"): 8}
    ids, ports = {raw[:2] for _, raw, _ in up.asked}, {peer for _, _, peer in up.asked}
    assert len(ids) > 6
    assert len(ports) > 4


async def test_nxdomain_comes_with_its_soa(netns, nursery):
    up = await upstream(nursery, udp=lambda raw: [reply_to(raw, rcode="NXDOMAIN")])
    _, port = await with_upstreams(nursery, netns, up.port, up.address)
    reply = await ask(netns, port, "nope.example")
    assert reply.header.rcode == RCODE.NXDOMAIN
    assert [each.rtype for each in reply.auth] == [QTYPE.SOA]


@pytest.mark.parametrize(
    "bad",
    [
        lambda raw: [],
        lambda raw: [reply_to(raw, rcode="SERVFAIL")],
        lambda raw: [b"\0", os.urandom(40)],
        lambda raw: [bytes((raw[0] ^ 1,)) + reply_to(raw, addresses=("6.6.6.6",))[1:]],
    ],
    ids=["silent", "servfail", "noise", "wrong id"],
)
async def test_a_good_upstream_wins_over_a_bad_one(netns, nursery, bad):
    good = await upstream(nursery, udp=lambda raw: [reply_to(raw, addresses=("192.0.2.1",))])
    first = await upstream(nursery, "127.0.53.2", good.port, udp=bad)
    _, port = await with_upstreams(nursery, netns, good.port, first.address, good.address)
    with trio.fail_after(0.8):
        assert data(await ask(netns, port, "example.com")) == ["192.0.2.1"]
    assert len(first.asked) == len(good.asked) == 1


async def test_silence_ends_in_servfail_while_local_names_answer(netns, nursery):
    up = await upstream(nursery)
    _, port = await with_upstreams(nursery, netns, up.port, up.address)
    with sock(netns) as client, trio.fail_after(3):
        await client.connect((SERVER, port))
        await client.send(question("example.com"))
        await client.send(question("web"))
        assert len(data(DNSRecord.parse(await client.recv(512)))) == 2
        assert DNSRecord.parse(await client.recv(512)).header.rcode == RCODE.SERVFAIL


async def test_too_many_under_way_are_refused(netns, nursery):
    up = await upstream(nursery)
    _, port = await with_upstreams(nursery, netns, up.port, up.address)
    with sock(netns) as client, trio.fail_after(5):
        await client.connect((SERVER, port))
        for n in range(140):
            await client.send(question(f"x{n}.example"))
        codes = [DNSRecord.parse(await client.recv(512)).header.rcode for _ in range(140)]
    assert codes.count(RCODE.REFUSED) == 12
    assert codes.count(RCODE.SERVFAIL) == 128


async def test_a_cut_reply_is_fetched_over_tcp(netns, nursery):
    many = tuple(f"192.0.2.{n}" for n in range(1, 101))
    up = await upstream(
        nursery, udp=lambda raw: [truncated(raw)], tcp=lambda raw: [reply_to(raw, addresses=many)]
    )
    _, port = await with_upstreams(nursery, netns, up.port, up.address)
    cut = await ask(netns, port, "big.example")
    assert [protocol for protocol, _, _ in up.asked] == ["udp", "tcp"]
    assert cut.header.tc == 1
    assert 20 < len(cut.rr) < 100
    async with await connect(netns, port) as stream:
        await stream.send_all(frame(question("big.example")))
        [whole] = await read_frames(stream, 1)
    assert (len(whole.rr), whole.header.tc) == (100, 0)


async def test_without_upstreams_no_packet_leaves(netns, nursery):
    up = await upstream(nursery, udp=lambda raw: [reply_to(raw, addresses=("192.0.2.1",))])
    server, port = await with_upstreams(nursery, netns, up.port)
    assert (await ask(netns, port, "example.com")).header.rcode == RCODE.SERVFAIL
    server.set_table(table(up.address))
    assert data(await ask(netns, port, "example.com")) == ["192.0.2.1"]
    assert len(up.asked) == 1


async def test_an_upstream_of_the_container_is_asked_inside(netns, nursery):
    """Outside, nothing listens at this address: only the sandbox's own loopback has it."""
    inside = await upstream(nursery, udp=lambda raw: [reply_to(raw, addresses=("192.0.2.1",))])
    server, port = await with_upstreams(nursery, netns, inside.port, inside.address)
    assert data(await ask(netns, port, "example.com")) == ["192.0.2.1"]
    server.set_table(table(inside.address, inside=True))
    assert (await ask(netns, port, "example.com")).header.rcode == RCODE.SERVFAIL
    with namespace.make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((inside.address, inside.port))
        asked = trio.socket.from_stdlib_socket(listener)

        async def answer():
            raw, peer = await asked.recvfrom(512)
            await asked.sendto(reply_to(raw, addresses=("192.0.2.2",)), peer)

        nursery.start_soon(answer)
        assert data(await ask(netns, port, "example.com")) == ["192.0.2.2"]


async def test_our_own_address_as_upstream_is_no_loop(netns, nursery):
    server, port = await with_upstreams(nursery, netns, 53)
    server.set_table(table(SERVER, inside=True))
    with trio.fail_after(0.5):
        assert (await ask(netns, port, "example.com")).header.rcode == RCODE.SERVFAIL
