"""How long replies may be kept, read by our walk and checked by another decoder."""

import pytest
from dnslib import CNAME, EDNS0, QTYPE, RCODE, RR, SOA, A, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.dns import lifetime
from netdrivers.dns.lifetime import build_again, parse_lifetime

NAME = "www.example."


def a(ttl, name=NAME):
    return RR(name, QTYPE.A, rdata=A("192.0.2.1"), ttl=ttl)


def alias(ttl):
    return RR(NAME, QTYPE.CNAME, rdata=CNAME("real.example."), ttl=ttl)


def soa(ttl, minimum):
    data = SOA("ns.example.", "root.example.", (1, 2, 3, 4, minimum))
    return RR("example.", QTYPE.SOA, rdata=data, ttl=ttl)


def reply(*answers, auth=(), extra=(), rcode="NOERROR", **flags):
    header = DNSHeader(id=7, qr=1, rcode=getattr(RCODE, rcode), **flags)
    made = DNSRecord(header, q=DNSQuestion(NAME))
    made.add_answer(*answers)
    made.add_auth(*auth)
    made.add_ar(*extra)
    return bytes(made.pack())


@pytest.mark.parametrize(
    ("raw", "keep_s"),
    [
        (reply(a(60)), 60),
        (reply(a(60), a(20)), 20),
        (reply(alias(10), a(60, "real.example.")), 10),
        (reply(a(60), auth=[soa(5, 300)]), 5),
        (reply(a(60), extra=[a(7, "ns.example.")]), 7),
        (reply(a(60), extra=[EDNS0(udp_len=1232)]), 60),
        (reply(a(10**6)), lifetime.MAX_TTL_S),
        (reply(a(1 << 31)), lifetime.MAX_TTL_S),
        (reply(auth=[soa(60, 20)]), 20),
        (reply(auth=[soa(20, 60)], rcode="NXDOMAIN"), 20),
        (reply(alias(10), auth=[soa(60, 60)]), 10),
        (reply(auth=[soa(10**6, 10**6)]), lifetime.MAX_NEGATIVE_TTL_S),
    ],
)
def test_the_shortest_ttl_counts(raw, keep_s):
    assert parse_lifetime(raw, QTYPE.A).keep_s == keep_s


@pytest.mark.parametrize(
    "raw",
    [
        reply(a(0)),
        reply(a(60), a(0)),
        reply(),  # says nothing, not even for how long
        reply(rcode="NXDOMAIN"),
        reply(alias(60)),
        reply(auth=[soa(60, 0)]),
        reply(a(60), tc=1),
        reply(a(60), extra=[EDNS0(udp_len=1232, ext_rcode=1)]),
        reply(a(60))[:-1],
        reply(a(60))[:5],
        b"",
    ],
)
def test_what_may_not_be_kept(raw):
    assert parse_lifetime(raw, QTYPE.A) is None


def test_a_name_without_the_type_that_was_asked_is_a_denial():
    assert parse_lifetime(reply(a(60)), QTYPE.AAAA) is None
    assert not parse_lifetime(reply(a(60)), QTYPE.ANY).is_negative
    assert parse_lifetime(reply(alias(60), auth=[soa(60, 60)]), QTYPE.A).is_negative


def test_every_ttl_is_set_and_nothing_else():
    raw = reply(a(60), alias(20), auth=[soa(9, 9)], extra=[EDNS0(udp_len=1232, flags="do")], aa=1)
    before = DNSRecord.parse(raw)
    again = DNSRecord.parse(build_again(raw, parse_lifetime(raw, QTYPE.A), 15))
    assert {each.ttl for each in (*again.rr, *again.auth)} == {15}
    assert (again.header.aa, again.ar[0].edns_len, again.ar[0].edns_do) == (0, 1232, 1)
    assert [str(each.rdata) for each in again.rr] == [str(each.rdata) for each in before.rr]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
def test_nothing_is_kept_longer_than_any_part_of_it(ttls):
    found = parse_lifetime(reply(*map(a, ttls)), QTYPE.A)
    assert (found.keep_s if found else 0) == min(*ttls, lifetime.MAX_TTL_S)
    assert found is None or len(found.ttls_at) == len(ttls)


@given(st.binary(max_size=80), st.integers(0, 2**16 - 1))
def test_noise_is_survived(noise, qtype):
    raw = reply(a(60))[:4] + noise
    found = parse_lifetime(raw, qtype)
    if found is not None:
        assert len(build_again(raw, found, 1)) == len(raw)


@given(st.data())
def test_a_bent_reply_is_survived(data):
    raw = bytearray(reply(alias(9), a(60, "real.example."), auth=[soa(60, 60)]))
    at = data.draw(st.integers(2, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    found = parse_lifetime(bytes(raw), QTYPE.A)
    assert found is None or 0 < found.keep_s <= lifetime.MAX_TTL_S
