"""One upstream, and those who would like to be taken for it."""

import socket
from itertools import pairwise

import trio
from dnslib import DNSRecord

from netdrivers.dns import message, upstream
from tests.fakes.dns_client import data
from tests.fakes.upstream_dns import Upstream, reply_to

TRUE, FALSE = "192.0.2.1", "203.0.113.66"


def query_of(name="example.com"):
    return message.parse_query(bytes(DNSRecord.question(name).pack()))


def answer(raw, address=TRUE, ident=None):
    reply = reply_to(raw, addresses=(address,))
    return reply if ident is None else ident.to_bytes(2) + reply[2:]


def lies(raw, count):
    """Answers under other ids than the one that was asked with."""
    true = int.from_bytes(raw[:2])
    return [answer(raw, FALSE, (true + n) % 65536) for n in range(1, count + 1)]


async def started(nursery, **scripts):
    made = Upstream("127.0.53.1", **scripts)
    await nursery.start(made.run)
    return made


async def heard_from(up):
    with trio.fail_after(10):
        return await upstream.ask(up.address, up.port, query_of(), None)


async def test_who_is_not_the_upstream_may_try_every_id(nursery):
    """It knows the very port, which it would have to guess, too."""
    up = await started(nursery)
    found = []

    async def ask():
        found.append(await heard_from(up))
        asking.cancel_scope.cancel()

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked(0.05)
        _, raw, port = up.asked[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.53.66", 0))
            lie = answer(raw, FALSE)[2:]
            for ident in range(65536):
                stranger.sendto(ident.to_bytes(2) + lie, ("127.0.0.1", port))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not found
        up.udp = lambda raw: [answer(raw)]  # answers when it is asked again
    assert data(DNSRecord.parse(found[0].reply)) == [TRUE]
    assert found[0].guesses == 0


async def test_a_few_guesses_from_the_upstreams_own_address_are_not_believed(nursery):
    up = await started(nursery, udp=lambda raw: [*lies(raw, 7), answer(raw)])
    heard = await heard_from(up)
    assert data(DNSRecord.parse(heard.reply)) == [TRUE]
    assert (heard.outcome, heard.guesses, len(up.asked)) == ("answered", 7, 1)


async def test_under_a_flood_of_guesses_only_tcp_is_believed(nursery):
    up = await started(
        nursery,
        udp=lambda raw: [*lies(raw, 200), answer(raw, FALSE)],
        tcp=lambda raw: [answer(raw)],
    )
    heard = await heard_from(up)
    assert data(DNSRecord.parse(heard.reply)) == [TRUE]
    assert heard.guesses == upstream.MAX_GUESSES
    assert [protocol for protocol, _, _ in up.asked] == ["udp", "tcp"]


async def test_an_answer_to_another_question_is_a_guess(nursery):
    def script(raw):
        other = DNSRecord.question("example.org")
        other.header.id = DNSRecord.parse(raw).header.id
        return [answer(bytes(other.pack()), FALSE), answer(raw)]

    heard = await heard_from(await started(nursery, udp=script))
    assert data(DNSRecord.parse(heard.reply)) == [TRUE]
    assert heard.guesses == 1


async def test_ids_and_ports_are_new_each_time(nursery):
    up = await started(nursery, udp=lambda raw: [answer(raw)])
    for _ in range(64):
        await heard_from(up)
    ids = [int.from_bytes(raw[:2]) for _, raw, _ in up.asked]
    ports = [port for _, _, port in up.asked]
    for seen in (ids, ports):
        assert len(set(seen)) > 56
        steps = {second - first for first, second in pairwise(seen)}
        assert len(steps) > 48, "no series"


async def test_what_came_of_it(nursery):
    failing = await started(nursery, udp=lambda raw: [reply_to(raw, rcode="SERVFAIL")])
    assert (await heard_from(failing)).outcome == "failed"
    denying = await started(nursery, udp=lambda raw: [reply_to(raw, rcode="NXDOMAIN")])
    assert (await heard_from(denying)).outcome == "answered"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    heard = await upstream.ask("127.0.0.1", port, query_of(), None)
    assert (heard.reply, heard.outcome) == (None, "unreachable")
