"""Upstreams of the server, outside and inside the namespace it is asked from."""

import os
import socket

import pytest
import trio
from dnslib import QTYPE, RCODE, DNSRecord

from netdrivers.dns import namespace
from netdrivers.dns.server import DnsServer
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
from tests.fakes.upstream_dns import Upstream, reply_to, truncated


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


async def test_the_rest_is_forwarded(netns, nursery):
    up = await upstream(nursery, udp=lambda raw: [reply_to(raw, addresses=("192.0.2.1",))])
    server, port = await with_upstreams(nursery, netns, up.port, up.address)
    replies = [await ask(netns, port, f"X{n}.Example.COM") for n in range(8)]
    assert {tuple(data(each)) for each in replies} == {("192.0.2.1",)}
    assert server.statistics() == {("noerror", "forwarded"): 8}
    assert server.upstreams()[up.address].outcomes == {"answered": 8}
    assert server.upstreams()[up.address].latency[1][-1] == 8
    assert server.cache_entries() == 8
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
    server, port = await with_upstreams(nursery, netns, up.port, up.address)
    with sock(netns) as client, trio.fail_after(5):
        await client.connect((SERVER, port))
        for n in range(140):
            await client.send(question(f"x{n}.example"))
        codes = [DNSRecord.parse(await client.recv(512)).header.rcode for _ in range(140)]
    assert codes.count(RCODE.REFUSED) == server.dropped()["sandbox"] == 12
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
    assert len(up.asked) == 2  # the whole one was kept, not the cut one


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
    assert server.upstreams()["container"].outcomes == {"unreachable": 1}
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
