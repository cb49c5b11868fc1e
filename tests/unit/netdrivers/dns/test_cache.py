"""The cache against what may be served at all, for any order of events."""

from pathlib import Path

import pytest
from dnslib import EDNS0, QTYPE, RCODE, RR, SOA, A, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netdrivers.dns import cache, message
from netdrivers.dns.cache import MAX_STALE_S, RECHECK_S, STALE_TTL_S, Cache, asked_of
from netdrivers.dns.route import Route

HOST = Route(upstreams=("9.9.9.9",), netns=None)
INSIDE = Route(upstreams=("9.9.9.9",), netns=Path("/run/netns/x"))
OTHER = Route(upstreams=("9.9.9.9",), netns=Path("/run/netns/y"))


def asked(name="example.com", qtype="A", edns=None, **flags):
    record = DNSRecord.question(name, qtype)
    if edns is not None:
        record.add_ar(EDNS0(udp_len=1232, flags=edns))
    for key, value in flags.items():
        setattr(record.header, key, value)
    return asked_of(message.parse_query(bytes(record.pack())))


def answer(address="192.0.2.1", ttl=60, name="example.com", rcode="NOERROR"):
    made = DNSRecord(DNSHeader(id=7, qr=1, rcode=getattr(RCODE, rcode)), q=DNSQuestion(name))
    if rcode == "NOERROR":
        made.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=ttl))
    else:
        data = SOA("ns.example.", "root.example.", (1, 2, 3, 4, ttl))
        made.add_auth(RR("com.", QTYPE.SOA, rdata=data, ttl=ttl))
    return bytes(made.pack())


def ttl_of(found):
    parsed = DNSRecord.parse(found.reply)
    return (parsed.rr or parsed.auth)[0].ttl


@pytest.fixture
def kept():
    made = Cache()
    made.put(HOST, asked(), answer(), 100.0)
    return made


def test_it_counts_down_and_says_until_when(kept):
    for now, ttl, until in ((100.0, 60, 101), (100.9, 60, 101), (130.0, 30, 131), (159.9, 1, 160)):
        found = kept.find(HOST, asked(), now)
        assert (ttl_of(found), found.holds_until, found.is_stale) == (ttl, until, False)


def test_case_is_no_difference_type_and_flags_are(kept):
    assert kept.find(HOST, asked("eXample.COM"), 101)
    others = [asked("example.org"), asked(qtype="AAAA"), asked(edns=""), asked(edns="do")]
    others += [asked(cd=1)]
    assert not any(kept.find(HOST, each, 101) for each in others)


def test_types_that_differ_by_letter_case_are_two():
    head = bytes.fromhex("000101000001000000000000") + b"\1a\3com\0"
    https, other = (head + bytes((0, kind, 0, 1)) for kind in b"Aa")  # 65 and 97
    assert asked_of(message.parse_query(https)) != asked_of(message.parse_query(other))


def test_a_dot_in_a_label_is_no_boundary():
    raw = [b"\3a.b\3com\0", b"\1a\1b\3com\0", b"\2a\\\1b\3com\0"]
    head = bytes.fromhex("000101000001000000000000")
    keys = {asked_of(message.parse_query(head + each + b"\0\1\0\1")) for each in raw}
    assert len(keys) == 3


@pytest.mark.parametrize("route", [INSIDE, OTHER, Route(upstreams=("8.8.8.8",), netns=None)])
def test_no_route_sees_another_s_answers(kept, route):
    assert kept.find(route, asked(), 101) is None


def test_after_its_time_it_is_asked_anew_and_stale_if_that_fails(kept):
    found = kept.find(HOST, asked(), 160.0)
    assert (found.is_stale, found.must_ask, ttl_of(found)) == (True, True, STALE_TTL_S)
    kept.note_failure(HOST, asked(), 160.0)
    assert not kept.find(HOST, asked(), 160.0 + RECHECK_S - 1).must_ask
    assert kept.find(HOST, asked(), 160.0 + RECHECK_S).must_ask


def test_stale_has_an_end(kept):
    assert kept.find(HOST, asked(), 160.0 + MAX_STALE_S - 1)
    assert kept.find(HOST, asked(), 160.0 + MAX_STALE_S) is None
    assert len(kept) == 0


def test_a_failure_does_not_shorten_what_is_fresh(kept):
    kept.note_failure(HOST, asked(), 110.0)
    kept.note_failure(INSIDE, asked(), 110.0)
    assert ttl_of(kept.find(HOST, asked(), 120.0)) == 40


def test_a_denial_is_kept_for_its_time_and_never_stale():
    kept = Cache()
    kept.put(HOST, asked(), answer(rcode="NXDOMAIN"), 100.0)
    assert ttl_of(kept.find(HOST, asked(), 130.0)) == 30
    assert kept.find(HOST, asked(), 160.0) is None


def test_news_that_may_not_be_kept_ends_the_old(kept):
    kept.put(HOST, asked(), answer(ttl=0), 110.0)
    assert kept.find(HOST, asked(), 110.0) is None
    kept.put(HOST, asked(), answer() + bytes(cache.MAX_ANSWER_BYTES), 110.0)
    assert len(kept) == 0


def test_routes_are_forgotten_alone(kept):
    kept.put(INSIDE, asked(), answer(), 100.0)
    kept.put(OTHER, asked(), answer(), 100.0)
    kept.forget(OTHER)
    assert kept.find(OTHER, asked(), 101) is None
    kept.keep_only({INSIDE, OTHER})
    assert kept.find(HOST, asked(), 101) is None
    assert kept.find(INSIDE, asked(), 101)
    assert len(kept) == 1


def test_who_asks_most_gives_up_what_it_used_least():
    kept = Cache(max_answers=10)
    names = [f"n{n}.example" for n in range(50)]
    kept.put(HOST, asked(), answer(), 0.0)
    for name in names:
        kept.put(INSIDE, asked(name), answer(name=name), 0.0)
        kept.find(INSIDE, asked(names[0]), 0.0)
    assert len(kept) == 10
    assert kept.find(HOST, asked(), 1)
    assert [name for name in names if kept.find(INSIDE, asked(name), 1)] == [names[0], *names[-8:]]


class AnyOrder(RuleBasedStateMachine):
    """What is served was put last for that route and question, and not longer ago than allowed."""

    routes = st.sampled_from([HOST, INSIDE, OTHER])
    names = st.sampled_from(["a.example", "A.Example", "b.example", "c.example"])

    def __init__(self):
        super().__init__()
        self.cache = Cache(max_answers=5)
        self.now = 0.0
        self.puts = {}
        self.number = 0
        self.failed = {}

    @rule(s=st.one_of(st.floats(0, 5), st.sampled_from([30.0, MAX_STALE_S - 2, MAX_STALE_S])))
    def wait(self, s):
        self.now += s

    @rule(
        route=routes,
        name=names,
        ttl=st.integers(0, 9),
        rcode=st.sampled_from(["NOERROR", "NXDOMAIN"]),
    )
    def put(self, route, name, ttl, rcode):
        self.number += 1
        address = f"10.0.{self.number >> 8}.{self.number & 255}"
        self.cache.put(route, asked(name), answer(address, ttl, name, rcode), self.now)
        self.puts[route, asked(name)] = (self.now, ttl, rcode, address)
        self.failed.pop((route, asked(name)), None)

    @rule(route=routes, name=names)
    def fail(self, route, name):
        self.cache.note_failure(route, asked(name), self.now)
        self.failed[route, asked(name)] = self.now

    @rule(route=routes)
    def forget(self, route):
        self.cache.forget(route)
        self.puts = {key: value for key, value in self.puts.items() if key[0] != route}

    @rule(routes=st.sets(routes))
    def keep_only(self, routes):
        self.cache.keep_only(routes)
        self.puts = {key: value for key, value in self.puts.items() if key[0] in routes}

    @rule(route=routes, name=names)
    def find(self, route, name):
        key = (route, asked(name))
        found = self.cache.find(*key, self.now)
        if found is None:
            return
        since, ttl, rcode, address = self.puts[key]  # nothing that was not put, or was forgotten
        age = self.now - since
        served = DNSRecord.parse(found.reply)
        assert [str(each.rdata) for each in served.rr] == [address] * (rcode == "NOERROR")
        if found.is_stale:
            assert rcode == "NOERROR"
            assert ttl <= age < ttl + MAX_STALE_S
            assert ttl_of(found) == STALE_TTL_S
            failed = self.failed.get(key, -RECHECK_S)
            assert found.must_ask == (self.now >= failed + RECHECK_S)
        else:
            assert not found.must_ask
            assert 0 < ttl_of(found) <= ttl - age + 1
            assert self.now <= found.holds_until <= since + ttl + 1e-6

    @invariant()
    def bounded(self):
        assert len(self.cache) == sum(map(len, self.cache._stores.values())) <= 5
        assert all(self.cache._stores.values())


TestAnyOrder = AnyOrder.TestCase
