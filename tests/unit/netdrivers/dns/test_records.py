"""Names and reverse names of a view."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.contract import DnsTable, DnsView, DnsZone
from netdrivers.dns.records import Records, parse_reverse

ONE, TWO, THREE = map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::3"))
ZONES = {
    "n1": DnsZone(name="br.Net1", names={"c1.net1": (ONE,), "web": (ONE,)}, reverse={ONE: "web"}),
    "n2": DnsZone(name="demo", names={"web": (TWO,), "db": (TWO, THREE)}, reverse={TWO: "db"}),
    "n3": DnsZone(name="other", names={"secret": (TWO,)}, reverse={THREE: "secret"}),
}
TABLE = DnsTable(zones=ZONES, views={"s": DnsView(zones=("n2", "n1", "gone"))})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", [(TWO,), (ONE,)]),  # the preferred network first
        ("web.demo", [(TWO,)]),
        ("web.br.net1", [(ONE,)]),
        ("c1.net1", [(ONE,)]),
        ("c1.net1.br.net1", [(ONE,)]),
        ("c1.net1.br.net1.google.com", None),
        ("secret", None),
        ("secret.other", None),
        ("db", [(TWO, THREE)]),
        (".demo", None),
        ("", None),
    ],
)
def test_find(name, found):
    assert Records(TABLE, "s").find(name) == found


def test_a_stranger_sees_nothing():
    records = Records(TABLE, "unknown")
    assert records.find("web") is None
    assert records.view.upstreams == ()


def test_reverse_bears_the_network():
    records = Records(TABLE, "s")
    assert records.find_reverse(TWO) == "db.demo"
    assert records.find_reverse(ONE) == "web.br.Net1"
    assert records.find_reverse(THREE) is None


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
