"""What becomes of a query."""

from ipaddress import ip_address

import pytest
from dnslib import DNSRecord

from netdrivers.contract import DnsTable, DnsView, DnsZone
from netdrivers.dns import message
from netdrivers.dns.message import Edns, Query, Rcode
from netdrivers.dns.records import Records
from netdrivers.dns.resolver import Answer, Failure, Forward, resolve

V4, V4B, V6 = map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::1"))
LONG = ip_address("10.0.0.9")
ZONES = {
    "n": DnsZone(
        name="demo",
        names={"web": (V4, V6), "old": (V4,), "both": (V4, V4)},
        reverse={V4: "web", V6: "web", LONG: "x" * 64},
    ),
    "m": DnsZone(name="more", names={"web": (V4B,), "old": (V4,)}, reverse={}),
}
VIEWS = {
    "closed": DnsView(zones=("n", "m")),
    "open": DnsView(zones=("n", "m"), upstreams=("9.9.9.9",)),
}
RECORDS = {name: Records(DnsTable(zones=ZONES, views=VIEWS), name) for name in VIEWS}
A, PTR, MX, TXT, AAAA, SRV, OPT, AXFR, ANY = 1, 12, 15, 16, 28, 33, 41, 252, 255


def ask(name, qtype=A, view="closed", qclass=1, edns=None):
    raw = DNSRecord.question(name).pack()[12:-4]
    query = Query(
        id=1, flags=0, name=name.lower(), qtype=qtype, qclass=qclass, question=raw, edns=edns
    )
    return resolve(query, RECORDS[view])


def data(answer):
    assert isinstance(answer, Answer)
    return [ip_address(each.data) for each in (*answer.first, *answer.rest)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("name", "qtype", "found"),
    [
        ("web", A, [V4, V4B]),
        ("WEB", A, [V4, V4B]),
        ("web.demo", A, [V4]),
        ("web", AAAA, [V6]),
        ("old", AAAA, []),
        ("old", A, [V4]),
        ("both", A, [V4]),
        ("web", ANY, [V4, V6, V4B]),
        ("web", MX, []),
        ("web", TXT, []),
        ("web", SRV, []),
        ("web", PTR, []),
    ],
)
def test_known_names_never_leave(name, qtype, found, view):
    assert data(ask(name, qtype, view)) == found


def test_only_the_preferred_network_is_rotated():
    answer = ask("web")
    assert [len(answer.first), len(answer.rest)] == [1, 1]


def test_known_names_are_answered_in_any_class():
    assert data(ask("web", qclass=3)) == [V4, V4B]


@pytest.mark.parametrize(
    ("view", "qclass", "verdict"),
    [
        ("closed", 1, Failure(rcode=Rcode.SERVFAIL)),
        ("closed", 3, Failure(rcode=Rcode.REFUSED)),
        ("open", 3, Failure(rcode=Rcode.REFUSED)),
    ],
)
@pytest.mark.parametrize("name", ["ghost", "example.com", "ghost.demo", "8.8.8.8.in-addr.arpa"])
def test_unknown_names_fail(name, view, qclass, verdict):
    assert ask(name, view=view, qclass=qclass) == verdict


@pytest.mark.parametrize("name", ["ghost", "example.com", "ghost.demo", "8.8.8.8.in-addr.arpa"])
def test_unknown_names_are_forwarded(name):
    assert isinstance(ask(name, view="open"), Forward)


@pytest.mark.parametrize("address", [V4, V6])
def test_own_addresses_have_names(address):
    answer = ask(address.reverse_pointer, PTR, "open")
    assert [each.data for each in answer.first] == [message.build_name("web.demo")]
    assert ask(address.reverse_pointer, A, "open") == Answer()


def test_a_pointer_to_an_impossible_name_is_servfail():
    assert ask(LONG.reverse_pointer, PTR) == Failure(rcode=Rcode.SERVFAIL)


@pytest.mark.parametrize(("qtype", "rcode"), [(AXFR, Rcode.REFUSED), (OPT, Rcode.FORMERR)])
def test_no_transfers(qtype, rcode):
    assert ask("web", qtype, "open") == Failure(rcode=rcode)


def test_a_later_edns_is_badvers():
    edns = Edns(size_bytes=512, version=1, flags=0)
    assert ask("web", edns=edns) == Failure(rcode=Rcode.BADVERS)
