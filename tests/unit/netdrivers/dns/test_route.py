"""Which way a question goes."""

from pathlib import Path

from netdrivers.contract.names import DnsView
from netdrivers.dns.route import route_of

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


def test_containers_share_the_way_from_the_host_and_no_way_from_inside():
    shared = DnsView(zones=("a",), upstreams=("9.9.9.9",))
    assert route_of(shared, NETNS) == route_of(DnsView(zones=(), upstreams=("9.9.9.9",)), Path("y"))
    own = DnsView(zones=(), upstreams=("9.9.9.9",), upstreams_in_sandbox=True)
    assert len({route_of(own, NETNS), route_of(own, Path("y")), route_of(shared, NETNS)}) == 3
