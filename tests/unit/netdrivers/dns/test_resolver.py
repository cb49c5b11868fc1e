"""What becomes of a query."""

from ipaddress import ip_address

import pytest
from dnslib import DNSRecord

from netdrivers.contract.names import DnsHost, DnsTable, DnsView, DnsZone
from netdrivers.dns import message
from netdrivers.dns.message import Answer, Edns, Query, Rcode
from netdrivers.dns.records import Records
from netdrivers.dns.resolver import NOT_READY, Failure, Forward, resolve

V4, V4B, V6, V4C = map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.3"))
LOCAL_V4, LOCAL_V6 = map(ip_address, ("127.0.0.1", "::1"))
LONG, SICK_V4 = map(ip_address, ("10.0.0.9", "10.0.0.8"))


def host(name, *addresses, **fields):
    return DnsHost(name=name, addresses=addresses, **fields)


HTTP = {"_80._tcp": 80, "_http._tcp": 80}
WEB = host("web", V4, V6, services=HTTP)
SICK = host("sick", SICK_V4, is_ready=False, services={**HTTP, "_53._udp": 53})
DOWN = host("asleep", is_up=False, is_ready=False, services=HTTP)
ZONES = {
    "n": DnsZone(
        name="demo",
        names={
            "web": (WEB,),
            "old": (host("old", V4),),
            "both": (host("x", V4), host("y", V4)),
            "sick": (SICK,),
            "asleep": (DOWN,),
            "half": (host("up", V4C), DOWN),
            "pool": (host("p", V4C, services=HTTP), SICK),
            "plain": (host("plain", V4),),
            "toolong": (host("x" * 64, V4, services=HTTP),),
        },
        reverse={V4: "web", V6: "web", LONG: "x" * 64, SICK_V4: "sick"},
    ),
    "m": DnsZone(
        name="more",
        names={"web": (host("web", V4B, services=HTTP),), "old": (host("old", V4),)},
        reverse={},
    ),
    "l": DnsZone(name="n" * 100, names={}, reverse={V4C: "p"}),
}
VIEWS = {
    "closed": DnsView(zones=("n", "m", "l")),
    "open": DnsView(zones=("n", "m", "l"), upstreams=("9.9.9.9",)),
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


@pytest.mark.parametrize("qtype", [A, AAAA, ANY])
def test_a_name_with_nobody_ready_fails_with_the_reason(qtype):
    for view in VIEWS:
        assert ask("sick", qtype, view) == NOT_READY
        assert ask("sick.demo", qtype, view) == NOT_READY
    assert ask("sick", MX, "open") == Answer()


@pytest.mark.parametrize("view", VIEWS)
def test_a_name_of_ours_that_does_not_run_is_nobody_elses_business(view):
    for name in ("asleep", "all.asleep", "asleep.demo"):
        assert ask(name, A, view) == ask(name, AAAA, view) == NOT_READY
    assert ask("_http._tcp.asleep", SRV, view) == NOT_READY
    assert data(ask("half", A, view)) == data(ask("all.half", A, view)) == [V4C]


@pytest.mark.parametrize("view", VIEWS)
def test_localhost_is_never_asked_upstream(view):
    assert data(ask("localhost", A, view)) == data(ask("a.b.LocalHost", A, view)) == [LOCAL_V4]
    assert data(ask("localhost", AAAA, view)) == [LOCAL_V6]
    assert data(ask("localhost", ANY, view)) == [LOCAL_V4, LOCAL_V6]
    assert data(ask("localhost", MX, view)) == []
    for address in (LOCAL_V4, LOCAL_V6):
        pointer = ask(address.reverse_pointer, PTR, view)
        assert [each.data for each in pointer.first] == [b"\x09localhost\x00"]
        assert data(ask(address.reverse_pointer, A, view)) == []
    assert not isinstance(ask("notlocalhost", A, view), Answer)


def test_all_are_found_by_their_own_name():
    assert data(ask("pool")) == [V4C]
    assert data(ask("all.pool")) == [V4C, SICK_V4]
    assert data(ask("all.pool.demo")) == [V4C, SICK_V4]
    assert data(ask("all.sick", AAAA)) == []


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


def test_who_is_not_ready_still_has_a_name():
    assert len(ask(SICK_V4.reverse_pointer, PTR).first) == 1


def test_a_network_name_that_dns_cannot_hold_is_left_out():
    [pointer] = ask(V4C.reverse_pointer, PTR).first
    assert pointer.data == b"\1p\0"


def ports(answer):
    """(port, target) of each record, and the addresses beside."""
    found = [(int.from_bytes(each.data[4:6]), each.data[6:]) for each in answer.first]
    return found, [ip_address(each.data) for each in answer.additional]


@pytest.mark.parametrize("service", ["_http._tcp", "_80._tcp", "_HTTP._TCP"])
def test_a_port_is_found_with_its_addresses(service):
    found, addresses = ports(ask(f"{service}.web", SRV, "open"))
    assert found == [
        (80, message.build_name("web.demo")), (80, message.build_name("web.more"))
    ]  # fmt: skip
    assert addresses == [V4, V6, V4B]


def test_only_ready_ones_offer_a_port():
    assert ports(ask("_http._tcp.pool.demo", SRV))[0] == [(80, message.build_name("p.demo"))]
    assert len(ask("_http._tcp.all.pool", SRV).first) == 2
    assert ask("_http._tcp.sick", SRV, "open") == NOT_READY
    assert ask("_53._udp.pool", SRV, "open") == NOT_READY


@pytest.mark.parametrize("qtype", [SRV, A, ANY])
@pytest.mark.parametrize(
    "name", ["_ftp._tcp.web", "_http._udp.web", "_udp.web", "_http._tcp.plain"]
)
def test_a_port_that_is_not_there_is_no_name(name, qtype):
    assert ask(name, qtype, "open") == Failure(rcode=Rcode.NXDOMAIN)


@pytest.mark.parametrize(("name", "qtype"), [("_http._tcp.web", A), ("_tcp.web", SRV)])
def test_a_name_of_a_port_has_nothing_else(name, qtype):
    assert ask(name, qtype, "open") == Answer()


def test_ports_of_strangers_are_forwarded():
    assert isinstance(ask("_http._tcp.example.com", SRV, "open"), Forward)
    assert ask("_http._tcp.ghost", SRV) == Failure(rcode=Rcode.SERVFAIL)


def test_a_port_at_an_impossible_name_is_servfail():
    assert ask("_http._tcp.toolong", SRV) == Failure(rcode=Rcode.SERVFAIL)


def test_a_pointer_to_an_impossible_name_is_servfail():
    assert ask(LONG.reverse_pointer, PTR) == Failure(rcode=Rcode.SERVFAIL)


@pytest.mark.parametrize(("qtype", "rcode"), [(AXFR, Rcode.REFUSED), (OPT, Rcode.FORMERR)])
def test_no_transfers(qtype, rcode):
    assert ask("web", qtype, "open") == Failure(rcode=rcode)


def test_a_later_edns_is_badvers():
    edns = Edns(size_bytes=512, version=1, flags=0)
    assert ask("web", edns=edns) == Failure(rcode=Rcode.BADVERS)
