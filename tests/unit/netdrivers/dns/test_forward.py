"""The bounds of asking; the races themselves are in the kernel ring."""

import pytest
from dnslib import DNSRecord

from netdrivers.dns import message
from netdrivers.dns.forward import Forwarder
from netdrivers.dns.route import Route


def query_of(name="example.com"):
    return message.parse_query(bytes(DNSRecord.question(name).pack()))


@pytest.mark.parametrize("upstream", ["nonsense", "", "::1%no-such-link", "::1%-1"])
async def test_an_upstream_that_is_no_address_is_servfail(upstream, nursery):
    forwarder = Forwarder()
    await nursery.start(forwarder.run)
    route = Route(upstreams=(upstream,), netns=None)
    told = await forwarder.ask("s", query_of(), route, max_bytes=512)
    assert (message.result_of(told.reply), told.source) == ("servfail", "forwarded")


async def test_before_it_runs_it_refuses():
    route = Route(upstreams=("192.0.2.1",), netns=None)
    told = await Forwarder().ask("s", query_of(), route, max_bytes=512)
    assert message.result_of(told.reply) == "refused"


def test_nothing_is_recalled_that_was_not_heard():
    assert Forwarder(now=lambda: 0.0).recall(query_of(), Route(upstreams=(), netns=None)) is None
