import struct

from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.logs import LogLine
from runtime.contract.shipping import Origin
from runtime.logs.journald import PIECE_MAX_BYTES, build_entries

ORIGIN = Origin(
    host="n", container_id="a" * 64, container_name="web", image_name="busybox", tag="web",
    attributes={"my.team": "net", "_PID": "1", "7": "x", "two": "a\nb"},
)  # fmt: skip


def parse(entry):
    """The native protocol, read the way its description says."""
    found = {}
    while entry:
        head, _, rest = entry.partition(b"\n")
        key, has_value, value = head.partition(b"=")
        if has_value:
            found[key.decode()], entry = value, rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            found[key.decode()], entry = rest[8 : 8 + size], rest[9 + size :]
    return found


def entries(data, stream="stdout"):
    line = LogLine(time_ns=1_795_000_000_000_000_007, stream=stream, data=data)
    return [parse(each) for each in build_entries(line, ORIGIN)]


def test_fields_as_dockers_driver_has_them():
    (found,) = entries(b"hello\n", "stderr")
    assert found["MESSAGE"] == b"hello"
    assert found["PRIORITY"] == b"3"
    assert (found["CONTAINER_ID"], found["CONTAINER_ID_FULL"]) == (b"a" * 12, b"a" * 64)
    assert (found["CONTAINER_NAME"], found["SYSLOG_IDENTIFIER"]) == (b"web", b"web")
    assert found["SYSLOG_TIMESTAMP"] == b"2026-11-18T11:06:40.000000007Z"
    assert (found["MY_TEAM"], found["PID"], found["X"], found["TWO"]) == (
        b"net",
        b"1",
        b"x",
        b"a\nb",
    )
    assert "CONTAINER_PARTIAL_MESSAGE" not in found


@given(st.binary(max_size=60))
def test_whatever_is_written_is_the_message(text):
    (found,) = entries(text + b"\n")
    assert found["MESSAGE"] == text


def test_long_and_open_lines_are_partial():
    text = b"x" * (2 * PIECE_MAX_BYTES + 1)
    found = entries(text + b"\n")
    assert b"".join(each["MESSAGE"] for each in found) == text
    assert ["CONTAINER_PARTIAL_MESSAGE" in each for each in found] == [True, True, False]
    (found,) = entries(b"open")
    assert found["CONTAINER_PARTIAL_MESSAGE"] == b"true"
