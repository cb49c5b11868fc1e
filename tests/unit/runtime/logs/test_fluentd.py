import msgpack
import pytest

from runtime.contract.logs import LogLine
from runtime.contract.shipping import Origin
from runtime.errors import Unavailable
from runtime.logs.fluentd import Answers, build_forward

ORIGIN = Origin(
    host="n", container_id="a" * 64, container_name="web", image_name="busybox", tag="app.web",
    attributes={"team": "net", "source": "mine"},
)  # fmt: skip
LINES = (
    LogLine(time_ns=1_795_000_000_000_000_007, stream="stdout", data=b"one\n"),
    LogLine(time_ns=1_795_000_001_000_000_000, stream="stderr", data=b"\xff\xfe"),
)


def test_forward_mode_as_another_implementation_reads_it():
    tag, entries, options = msgpack.unpackb(build_forward(LINES, ORIGIN, chunk="abc"))
    assert (tag, options) == ("app.web", {"size": 2, "chunk": "abc"})
    time, record = entries[0]
    assert (time.code, time.data) == (0, (1_795_000_000).to_bytes(4) + (7).to_bytes(4))
    assert record == {
        "container_id": "a" * 64, "container_name": "/web", "source": "stdout", "log": "one",
        "team": "net",
    }  # fmt: skip
    assert entries[1][1]["log"] == b"\xff\xfe", "binary stays what it is"
    assert entries[1][1]["partial_message"] == "true"


def test_no_chunk_asks_for_no_answer():
    assert msgpack.unpackb(build_forward(LINES[:1], ORIGIN, chunk=""))[2] == {"size": 1}


def test_an_answer_may_come_in_pieces():
    answer = msgpack.packb({"ack": "abc"})
    for cut in range(1, len(answer)):
        answers = Answers()
        assert not answers.feed(answer[:cut], "abc")
        assert answers.feed(answer[cut:], "abc")
        assert answers.feed(answer, "abc"), "the next one begins anew"


@pytest.mark.parametrize("data", [msgpack.packb({"ack": "other"}), msgpack.packb([1]), b"\xc1"])
def test_another_answer_is_none(data):
    with pytest.raises(Unavailable):
        Answers().feed(data, "abc")


def test_an_answer_without_end_is_not_kept():
    with pytest.raises(Unavailable):
        Answers().feed(b"\xdb\xff\xff\xff\xff" + b"x" * 5000, "abc")
