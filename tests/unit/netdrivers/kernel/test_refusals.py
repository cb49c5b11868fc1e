"""Which rule or route ends a lookup; messages held against pyroute2's."""

from ipaddress import ip_address, ip_network

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netdrivers.kernel import refusals
from netdrivers.kernel.refusals import Rule, TableRoute
from tests.unit.netdrivers.kernel.test_lookup import theirs

ALL, MAIN, LOCAL = "0.0.0.0/0", 254, 255
IP = ip_address("10.9.0.1")


def rule(priority, table=0, *, to=ALL, action=1, inverted=False) -> Rule:
    net = ip_network(to)
    return Rule(priority=priority, to=net, action=action, table=table, inverted=inverted)


def route(to, kind=1, *, table=MAIN, metric=0) -> TableRoute:
    return TableRoute(to=ip_network(to), table=table, kind=kind, metric=metric)


USUAL = [rule(32766, MAIN), rule(0, LOCAL)]


@pytest.mark.parametrize(
    ("rules", "routes", "what", "fix"),
    [
        ([], [route("10.9.0.1/32", 6)], "blackhole 10.9.0.1", "ip route del blackhole 10.9.0.1"),
        ([], [route(ALL, 8)], "prohibit default", "ip route del prohibit default"),
        ([], [route("10.9.0.0/24", 9)], "throw 10.9.0.0/24", "ip route del throw 10.9.0.0/24"),
        (
            [rule(9, to="10.9.0.1/32", action=8)],
            [],
            "pref 9 to 10.9.0.1 prohibit",
            "ip rule del pref 9 to 10.9.0.1 prohibit",
        ),
        ([rule(9, action=6)], [], "pref 9 blackhole", "ip rule del pref 9 blackhole"),
        (
            [rule(9, to="10.8.0.0/16", action=7, inverted=True)],
            [],
            "not to 10.8.0.0/16 unreachable",
            "ip rule del pref 9 not to 10.8.0.0/16 unreachable",
        ),
        (
            [rule(9, 77)],
            [route(ALL, 7, table=77)],
            "unreachable default table 77",
            "ip route del unreachable default table 77",
        ),
    ],
)
def test_what_ends_the_lookup(rules, routes, what, fix) -> None:
    found = refusals.find_refusal([*USUAL, *rules], routes, IP)
    assert found is not None
    assert what in found.what
    assert found.fix == fix


@pytest.mark.parametrize(
    ("rules", "routes"),
    [
        ([], []),
        ([], [route(ALL, 6), route("10.9.0.0/24")]),  # the longer one leads somewhere
        ([], [route("10.9.0.0/24", 6, metric=9), route("10.9.0.0/24", metric=1)]),
        ([], [route("10.9.0.2/32", 6)]),
        ([rule(9, to="10.9.0.2/32", action=8)], []),
        ([rule(40000, action=8)], [route(ALL)]),  # never come to
        ([], [route(ALL, 6, table=77)]),
    ],
)
def test_what_does_not(rules, routes) -> None:
    assert refusals.find_refusal([*USUAL, *rules], routes, IP) is None


def test_the_command_for_ipv6() -> None:
    rules = [Rule(priority=9, to=ip_network("fd00::/64"), action=8, table=0)]
    found = refusals.find_refusal(rules, [], ip_address("fd00::1"))
    assert found is not None
    assert found.fix == "ip -6 rule del pref 9 to fd00::/64 prohibit"


def test_a_rule() -> None:
    attributes = [("FRA_DST", "10.9.0.1"), ("FRA_PRIORITY", 9)]
    body = theirs(fibmsg, attributes, family=2, dst_len=32, action=8)
    assert refusals.parse_rule(body) == rule(9, to="10.9.0.1/32", action=8)
    marked = [*attributes, ("FRA_FWMARK", 7)]
    assert refusals.parse_rule(theirs(fibmsg, marked, family=2, dst_len=32, action=8)) is None
    entering = [*attributes, ("FRA_IIFNAME", "eth0")]
    assert refusals.parse_rule(theirs(fibmsg, entering, family=2, dst_len=32, action=8)) is None


def test_a_route() -> None:
    attributes = [("RTA_DST", "10.9.0.0"), ("RTA_TABLE", 770), ("RTA_PRIORITY", 5)]
    body = theirs(rtmsg, attributes, family=2, dst_len=24, table=252, type=6)
    assert refusals.parse_table_route(body) == route("10.9.0.0/24", 6, table=770, metric=5)
    body = theirs(rtmsg, [], family=10, table=254, type=7)
    assert refusals.parse_table_route(body) == route("::/0", 7)
