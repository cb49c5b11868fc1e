"""The bounds of asking; the races themselves are in the kernel ring."""

import socket

import pytest
import trio
from dnslib import DNSRecord

from netdrivers.dns import message
from netdrivers.dns.counts import Counts
from netdrivers.dns.forward import Forwarder
from netdrivers.dns.route import Route


def query_of(name="example.com"):
    return message.parse_query(bytes(DNSRecord.question(name).pack()))


@pytest.mark.parametrize("upstream", ["nonsense", "", "::1%no-such-link", "::1%-1"])
async def test_an_upstream_that_is_no_address_is_servfail(upstream, nursery):
    forwarder = Forwarder(Counts())
    await nursery.start(forwarder.run)
    route = Route(upstreams=(upstream,), netns=None)
    told = await forwarder.ask("s", query_of(), route, max_bytes=512)
    assert (message.result_of(told.reply), told.source) == ("servfail", "forwarded")


async def test_before_it_runs_it_refuses():
    route = Route(upstreams=("192.0.2.1",), netns=None)
    told = await Forwarder(Counts()).ask("s", query_of(), route, max_bytes=512)
    assert message.result_of(told.reply) == "refused"


async def test_a_forgotten_question_is_over_and_its_like_is_asked_anew(nursery):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        forwarder = Forwarder(Counts(), port=silent.getsockname()[1], deadline_s=0.3)
        await nursery.start(forwarder.run)
        route = Route(upstreams=("127.0.0.1",), netns=None)
        took = []

        async def ask():
            started = trio.current_time()
            await forwarder.ask("s", query_of(), route, max_bytes=512)
            took.append(trio.current_time() - started)

        async with trio.open_nursery() as askers:
            askers.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.01)
            forwarder.forget(route)
            askers.start_soon(ask)
        assert took[0] < 0.3 <= took[1]


def test_nothing_is_recalled_that_was_not_heard():
    assert (
        Forwarder(Counts(), now=lambda: 0.0).recall(query_of(), Route(upstreams=(), netns=None))
        is None
    )
