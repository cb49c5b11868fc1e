"""Names and reverse names of a view."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.contract.names import DnsHost, DnsTable, DnsView, DnsZone
from netdrivers.dns.records import Records, differing, parse_reverse

ONE, TWO, THREE = map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::3"))


def host(name, *addresses, is_ready=True):
    return DnsHost(name=name, addresses=addresses, is_ready=is_ready)


WEB1, WEB2, DB = host("web", ONE), host("web", TWO), host("db", TWO, THREE)
SICK = host("sick", THREE, is_ready=False)
ZONES = {
    "n1": DnsZone(name="br.Net1", names={"c1.net1": (WEB1,), "web": (WEB1,)}, reverse={ONE: "web"}),
    "n2": DnsZone(
        name="demo",
        names={"web": (WEB2, SICK), "db": (DB,), "sick": (SICK,), "all.taken": (WEB2,)},
        reverse={TWO: "db"},
    ),
    "n3": DnsZone(name="other", names={"secret": (WEB2,)}, reverse={THREE: "secret"}),
}
TABLE = DnsTable(zones=ZONES, views={"s": DnsView(zones=("n2", "n1", "gone"))})


def hosts(groups):
    return [tuple(each.host for each in group) for group in groups]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", [(WEB2,), (WEB1,)]),  # the preferred network first
        ("web.demo", [(WEB2,)]),
        ("web.br.net1", [(WEB1,)]),
        ("c1.net1", [(WEB1,)]),
        ("c1.net1.br.net1", [(WEB1,)]),
        ("db", [(DB,)]),
        ("sick", []),
        ("sick.demo", []),
        ("all.sick", [(SICK,)]),
        ("all.sick.demo", [(SICK,)]),
        ("all.web", [(WEB2, SICK), (WEB1,)]),
        ("all.web.demo", [(WEB2, SICK)]),
        ("all.taken", [(WEB2,)]),  # somebody's name
    ],
)
def test_find(name, found):
    assert hosts(Records(TABLE, "s").find(name).usable) == found


@pytest.mark.parametrize(
    "name",
    ["c1.net1.br.net1.google.com", "secret", "secret.other", ".demo", "", "all.ghost", "all.",
     "all", "all.all.web", "web.all"],
)  # fmt: skip
def test_a_name_that_nobody_bears(name):
    assert Records(TABLE, "s").find(name) is None


def test_a_stranger_sees_nothing():
    records = Records(TABLE, "unknown")
    assert records.find("web") is None
    assert records.view.upstreams == ()


def test_reverse_bears_the_network():
    records = Records(TABLE, "s")
    assert records.find_reverse(TWO) == ("db", ZONES["n2"])
    assert records.find_reverse(ONE) == ("web", ZONES["n1"])
    assert records.find_reverse(THREE) is None


def test_what_is_not_the_same_object_differs():
    again = {**ZONES, "n1": replace(ZONES["n1"]), "n4": ZONES["n3"]}
    del again["n3"]
    assert differing(ZONES, again) == {"n1", "n3", "n4"}
    assert differing(ZONES, dict(ZONES)) == set()


@given(st.ip_addresses())
def test_every_address_is_read_from_its_reverse_name(address):
    assert parse_reverse(address.reverse_pointer) == address


@pytest.mark.parametrize(
    "name",
    ["in-addr.arpa", "1.in-addr.arpa", "a.b.c.d.in-addr.arpa", "256.0.0.1.in-addr.arpa",
     "1.ip6.arpa", ".".join(["10"] * 32) + ".ip6.arpa", ".".join(["g"] * 32) + ".ip6.arpa", "web"],
)  # fmt: skip
def test_what_is_no_whole_address_is_none(name):
    assert parse_reverse(name) is None
