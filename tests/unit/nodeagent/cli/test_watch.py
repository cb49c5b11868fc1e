import pytest

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.watch import LogWriter, parse_tail, shape_stats

READING = {
    "ID": "0123456789abcdef",
    "CpuPercent": 0,
    "MemoryBytes": -1,
    "MemoryLimitBytes": -1,
    "MemoryPercent": -1,
    "Pids": -1,
    "NetworkRxBytes": -1,
    "NetworkTxBytes": 5,
    "BlockReadBytes": -1,
    "BlockWriteBytes": -1,
}


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> None: ...


def test_times_stand_before_lines_not_before_pieces():
    out = Sink()
    writer = LogWriter({"stdout": out}, has_times=True)
    for data in (b"one\ntw", b"o\n", b"three\n"):
        writer.write({"stream": "stdout", "time_ns": 10**9, "data": data})
    stamp = b"1970-01-01T00:00:01.000000000Z "
    assert out.data == stamp + b"one\n" + stamp + b"two\n" + stamp + b"three\n"


def test_details_stand_behind_the_time_and_can_be_taken_apart():
    out = Sink()
    attributes = {"team": "net, works", "a": "b=c"}
    item = {"stream": "stdout", "time_ns": 10**9, "data": b"one\n", "attributes": attributes}
    LogWriter({"stdout": out}, has_times=True).write(item)
    LogWriter({"stdout": out}, has_times=False).write(item)
    details = b"a=b%3Dc,team=net%2C%20works one\n"
    assert out.data == b"1970-01-01T00:00:01.000000000Z " + details + details


def test_what_was_lost_is_said_where_errors_are(capsys):
    out = Sink()
    item = {"stream": "stdout", "time_ns": 0, "data": b"", "lost": 3}
    LogWriter({"stdout": out}, has_times=True).write(item)
    assert not out.data
    assert "3 log files were dropped" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "wanted"), [("all", -1), ("0", 0), ("10", 10)])
def test_tail(words, wanted):
    assert parse_tail(words) == wanted


@pytest.mark.parametrize("words", ["", "-1", "few"])
def test_bad_tail(words):
    with pytest.raises(UsageError, match=r"^--tail"):
        parse_tail(words)


def test_unknown_counts_are_dashes():
    assert shape_stats(READING)["PIDs"] == "--"
    assert shape_stats(READING)["NetIO"] == "-- / 5B"
