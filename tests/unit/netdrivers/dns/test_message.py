"""The codec against two decoders of other authors, and against noise."""

import logging

import pytest
from dnslib import EDNS0, QTYPE, RCODE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from netdrivers.dns import message
from netdrivers.dns.message import Answer, Malformed, Query, Rcode, Reason, Resource

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)


def packet(name="Web.Demo", qtype="A", edns=None, **flags):
    record = DNSRecord.question(name, qtype)
    if edns:
        record.add_ar(EDNS0(udp_len=edns, flags="do"))
    record.header.id = 0x1234
    for key, value in flags.items():
        setattr(record.header, key, value)
    return record.pack()


OPT = b"\0\0\x29\2\0\0\0\0\0\0\0"


def parsed(raw):
    query = message.parse_query(raw)
    assert isinstance(query, Query)
    return query


def test_a_question_is_read():
    query = parsed(packet(edns=1400))
    assert (query.id, query.name, query.qtype, query.qclass) == (0x1234, "web.demo", 1, 1)
    assert query.edns.size_bytes == query.udp_bytes == 1400


def test_an_asker_without_edns_takes_512_bytes():
    assert parsed(packet()).udp_bytes == 512
    assert parsed(packet(edns=100)).udp_bytes == 512


@pytest.mark.parametrize(
    ("raw", "rcode"),
    [
        (packet(opcode=4), Rcode.NOTIMP),
        (packet()[:4] + b"\0\0" + packet()[6:], Rcode.FORMERR),  # no question
        (packet()[:4] + b"\0\2" + packet()[6:], Rcode.FORMERR),  # two
        (packet()[:-3], Rcode.FORMERR),
        (packet()[:12] + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR),  # a pointer to itself
        (packet(edns=512)[:-1] + b"\xff", Rcode.FORMERR),  # OPT longer than the packet
        (
            packet()[:11] + b"\2" + packet()[12:] + b"\0\0\x29\2\0\0\0\0\0\0\0"[1:] * 2,
            Rcode.FORMERR,
        ),
    ],
)
def test_what_is_wrong_gets_its_code(raw, rcode):
    found = message.parse_query(raw)
    assert isinstance(found, Malformed)
    assert found.rcode == rcode
    reply = DNSRecord.parse(message.build_error(found, rcode))
    assert (reply.header.id, reply.header.rcode, reply.header.qr) == (0x1234, rcode, 1)


@pytest.mark.parametrize("raw", [b"", b"\0" * 11, packet(qr=1)])
def test_scraps_and_replies_get_no_answer(raw):
    assert message.parse_query(raw) is None


def test_a_dot_inside_a_label_is_no_boundary():
    assert parsed(packet()[:12] + b"\3a.b\0\0\1\0\1").name == "a\\.b"


def resources(count):
    return [Resource(rtype=1, data=bytes((10, 0, n // 256, n % 256))) for n in range(count)]


def test_both_decoders_read_the_answer_and_the_case_is_kept():
    from scapy.layers.dns import DNS

    query = parsed(packet(edns=1400, rd=1))
    for raw in message.build_answers(query, Answer(first=resources(2)), ttl_s=2, max_bytes=1400):
        ours = DNSRecord.parse(raw)
        assert str(ours.q.qname) == "Web.Demo."
        assert str(ours.rr[0].rname) == "Web.Demo."
        assert (ours.header.ra, ours.header.aa, ours.header.rd, ours.header.tc) == (1, 0, 1, 0)
        assert ours.ar[0].rtype == QTYPE.OPT
        theirs = DNS(raw)
        assert [each.rdata for each in theirs.an] == [str(each.rdata) for each in ours.rr]
        assert {each.ttl for each in theirs.an} == {2}


def test_each_turn_begins_with_another_address():
    turns = message.build_answers(
        parsed(packet()), Answer(first=resources(3)), ttl_s=2, max_bytes=512
    )
    orders = [[str(each.rdata) for each in DNSRecord.parse(raw).rr] for raw in turns]
    assert [order[0] for order in orders] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


@pytest.mark.parametrize("size", [512, 1232])
def test_what_does_not_fit_is_cut_with_tc(size):
    [raw, *_] = message.build_answers(
        parsed(packet(edns=size)), Answer(first=resources(200)), ttl_s=2, max_bytes=size
    )
    reply = DNSRecord.parse(raw)
    assert size - 16 < len(raw) <= size
    assert reply.header.tc == 1
    assert reply.rr


def test_badvers_needs_the_upper_bits():
    reply = DNSRecord.parse(message.build_error(parsed(packet(edns=512)), Rcode.BADVERS))
    assert reply.header.rcode == 0
    assert reply.ar[0].ttl >> 24 == 1


def test_a_reason_is_told_to_who_has_edns():
    query = parsed(packet(edns=512))
    raw = message.build_error(query, Rcode.SERVFAIL, Reason.NOT_READY)
    [option] = DNSRecord.parse(raw).ar[0].rdata
    assert (option.code, option.data) == (15, b"\0\x0e")
    plain = message.build_error(parsed(packet()), Rcode.SERVFAIL, Reason.NOT_READY)
    assert DNSRecord.parse(plain).ar == []


def test_an_option_of_the_asker_is_neither_needed_nor_echoed():
    cookie = b"\0\x0a\0\x08abcdefgh"
    raw = packet()[:11] + b"\1" + packet()[12:] + OPT[:-2] + len(cookie).to_bytes(2) + cookie
    query = parsed(raw)
    assert query.edns.size_bytes == 512
    [reply] = message.build_answers(query, Answer(first=resources(1)), ttl_s=2, max_bytes=512)
    assert DNSRecord.parse(reply).ar[0].rdata == []


def test_additional_records_bear_their_own_names_and_go_first_when_room_is_short():
    from scapy.layers.dns import DNS

    query = parsed(packet("_http._tcp.web", qtype="SRV"))
    owner = message.build_name("web.demo")
    data = b"\0\0\0\0\0\x50" + owner
    extra = [Resource(rtype=1, data=bytes((10, 0, 0, n)), owner=owner) for n in range(40)]
    answer = Answer(first=[Resource(rtype=33, data=data)], additional=extra)
    [raw] = message.build_answers(query, answer, ttl_s=2, max_bytes=512)
    reply, theirs = DNSRecord.parse(raw), DNS(raw)
    assert str(reply.rr[0].rdata) == "0 0 80 web.demo."
    assert {str(each.rname) for each in reply.ar} == {"web.demo."}
    assert 5 < len(reply.ar) < 40
    assert reply.header.tc == 0
    assert (theirs.an[0].port, theirs.ar[0].rrname) == (80, b"web.demo.")


HEAD = packet()[:12]


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: HEAD + tail))
def test_noise_is_read_or_refused(raw):
    query = message.parse_query(raw)
    if query is None:
        return
    reply = message.build_error(query, Rcode.SERVFAIL)
    assert (reply[:2], reply[2] & 0x80, reply[3] & 0xF) == (raw[:2], 0x80, Rcode.SERVFAIL)
    if isinstance(query, Query):
        [answer] = message.build_answers(query, Answer(first=resources(1)), ttl_s=2, max_bytes=512)
        assert message.is_reply_to(answer, raw, query.question)


@given(st.binary(max_size=400), st.integers(512, 600))
def test_a_lying_upstream_cannot_hurt(tail, size):
    query = parsed(packet())
    sent = message.build_upstream(query, 7)
    head = b"\0\7\x81\x80\0\1\0\x05\0\1\0\1" + query.question
    reply = head + tail + bytes(600)
    assert message.is_reply_to(reply, sent, query.question)
    out = message.adapt_reply(reply, query, size)
    assert out[:2] == b"\x12\x34"
    assert len(out) <= size


def upstream_reply(query, count):
    record = DNSRecord.parse(message.build_upstream(query, 7)).reply()
    for n in range(count):
        record.add_answer(RR(str(record.q.qname).lower(), QTYPE.A, rdata=A(f"10.1.0.{n}"), ttl=9))
    return record.pack()


def test_a_big_reply_is_cut_to_what_the_asker_takes():
    query = parsed(packet())
    out = message.adapt_reply(upstream_reply(query, 100), query, 512)
    reply = DNSRecord.parse(out)
    assert len(out) <= 512
    assert (reply.header.id, reply.header.tc, reply.header.ra) == (0x1234, 1, 1)
    assert len(reply.rr) > 5
    assert str(reply.q.qname) == "Web.Demo."


def test_only_the_reply_to_the_very_query_counts():
    query = parsed(packet())
    sent, reply = message.build_upstream(query, 7), upstream_reply(query, 1)
    assert message.is_reply_to(reply, sent, query.question)
    assert not message.is_reply_to(b"\0\x08" + reply[2:], sent, query.question)
    assert not message.is_reply_to(sent, sent, query.question)
    other = parsed(packet("other.demo"))
    assert not message.is_reply_to(upstream_reply(other, 1), sent, query.question)
    assert not message.is_reply_to(b"", sent, query.question)
    https, in_lower_case = query.question[:-4] + b"\0A\0\1", query.question[:-4] + b"\0a\0\1"
    assert not message.is_reply_to(reply[:12] + in_lower_case, sent, https)


@pytest.mark.parametrize("text", ["a" * 64, "", "a..b", ".".join(["a" * 60] * 5)])
def test_a_name_that_does_not_fit_is_none(text):
    assert message.build_name(text) is None


def test_results_have_names():
    query = parsed(packet())
    codes = {
        name: message.build_error(query, code)
        for name, code in {
            "nodata": Rcode.NOERROR,
            "nxdomain": Rcode.NXDOMAIN,
            "servfail": Rcode.SERVFAIL,
            "formerr": Rcode.FORMERR,
            "refused": Rcode.NOTIMP,
        }.items()
    }
    assert {name: message.result_of(raw) for name, raw in codes.items()} == {n: n for n in codes}
    assert message.result_of(upstream_reply(query, 1)) == "noerror"
    assert RCODE.NOTIMP == Rcode.NOTIMP


@given(st.lists(st.binary(max_size=30), max_size=6), st.data())
def test_any_split_of_a_stream_gives_the_same_messages(messages, data):
    stream = b"".join(message.build_frame(each) for each in messages) + b"\0\x60half"
    frames, got = message.Frames(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += frames.feed(stream[:cut])
        stream = stream[cut:]
    assert got == messages
