"""Which way a question goes; the races themselves are in the kernel ring."""

from pathlib import Path

import pytest
from dnslib import DNSRecord

from netdrivers.contract import DnsView
from netdrivers.dns import message
from netdrivers.dns.forward import Forwarder, route_of

NETNS = Path("/run/netns/x")


def test_the_host_is_asked_from_outside():
    route = route_of(DnsView(zones=(), upstreams=("127.0.0.53", "127.0.0.11")), NETNS)
    assert (route.upstreams, route.netns) == (("127.0.0.53", "127.0.0.11"), None)


def test_a_container_s_own_servers_are_asked_inside_without_ourselves():
    view = DnsView(zones=(), upstreams=("127.0.0.11", "9.9.9.9"), upstreams_in_sandbox=True)
    assert route_of(view, NETNS).upstreams == ("9.9.9.9",)
    assert route_of(view, NETNS).netns == NETNS


def test_at_most_three_are_asked():
    view = DnsView(zones=(), upstreams=tuple(f"9.9.9.{n}" for n in range(9)))
    assert len(route_of(view, NETNS).upstreams) == 3


@pytest.mark.parametrize("upstream", ["nonsense", "", "::1%no-such-link", "::1%-1"])
async def test_an_upstream_that_is_no_address_is_servfail(upstream):
    query = message.parse_query(DNSRecord.question("example.com").pack())
    route = route_of(DnsView(zones=(), upstreams=(upstream,)), NETNS)
    reply = await Forwarder().ask("s", query, route, max_bytes=512)
    assert message.result_of(reply) == "servfail"
