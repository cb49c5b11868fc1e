import re

from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.logs import LogLine
from runtime.contract.shipping import Origin
from runtime.logs.syslog import PIECE_MAX_BYTES, Messages, frame

ORIGIN = Origin(
    host="node 1", container_id="a" * 64, container_name="web", image_name="busybox:latest",
    tag="web/1", attributes={"team": 'net"w]orks\\', "bad key=": "two\nlines"},
)  # fmt: skip
T_NS = 1_795_000_000_123_456_789
# RFC 5424 section 6, as far as it is used: header, one element of data, message
GRAMMAR = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([\x21-\x7e]{1,255})"
    rb" ([\x21-\x7e]{1,48}) - (stdout|stderr)"
    rb' \[container@32473((?: [^ ="\]]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\] (.*)',
    re.DOTALL,
)


def messages(data, stream="stdout", origin=ORIGIN, facility=16):
    line = LogLine(time_ns=T_NS, stream=stream, data=data)
    return list(Messages(origin, facility=facility).build(line))


def test_a_line_is_one_message():
    (message,) = messages(b"hello world\n")
    priority, stamp, host, app, stream, data, text = GRAMMAR.fullmatch(message).groups()
    assert (priority, stamp, host, app) == (
        b"134", b"2026-11-18T11:06:40.123456Z", b"node_1", b"web/1",
    )  # fmt: skip
    assert (stream, text) == (b"stdout", b"hello world")
    assert b'name="web"' in data
    assert b'team="net\\"w\\]orks\\\\"' in data
    assert b'bad_key_="two lines"' in data


def test_errors_are_errors():
    (message,) = messages(b"x\n", stream="stderr", facility=3)
    assert message.startswith(b"<27>1 ")


@given(st.binary(max_size=100).map(lambda b: b.replace(b"\0", b"")))
def test_whatever_is_written_is_the_end_of_the_message(text):
    (message,) = messages(text.replace(b"\n", b" ") + b"\n")
    assert GRAMMAR.fullmatch(message)[7] == text.replace(b"\n", b" ")


def test_a_long_line_comes_in_numbered_parts():
    text = bytes(n % 250 + 1 for n in range(3 * PIECE_MAX_BYTES - 5))
    found = [GRAMMAR.fullmatch(each) for each in messages(text + b"\n")]
    assert b"".join(each[7] for each in found) == text
    assert [re.search(rb'part="(.*?)"', each[6])[1] for each in found] == [b"1/3", b"2/3", b"3/3"]
    assert all(len(each[0]) < 8 << 10 for each in found)


def test_an_empty_line_is_a_message_too():
    (message,) = messages(b"\n")
    assert message.endswith(b"] ")


def test_names_are_never_empty():
    (message,) = messages(b"x\n", origin=Origin(
        host="", container_id="a" * 64, container_name="", image_name="", tag="",
        attributes={"": ""},
    ))  # fmt: skip
    assert GRAMMAR.fullmatch(message)


def test_a_frame_says_how_long_it_is():
    assert frame(b"a\nb") == b"3 a\nb"


def test_the_hosts_own_form():
    line = LogLine(time_ns=T_NS, stream="stderr", data=b"hello\n")
    (message,) = Messages(ORIGIN, facility=3, local=True).build(line)
    assert message == b"<27>Nov 18 11:06:40 web/1: hello"
