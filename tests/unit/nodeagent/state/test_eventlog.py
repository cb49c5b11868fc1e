"""Events on disk: whole, in order, and never more than two files of them."""

import errno
import os

import pytest

from nodeagent.model.system import Event
from nodeagent.state.eventlog import EventLog


def event(n):
    return Event(time_ns=n, type="container", action="start", id="i", name="é\n", attributes={})


def times(log):
    return [each.time_ns for each in log.load()]


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "events", part_bytes=1000)
    assert log.load() == []
    return log


def test_what_is_written_is_read_back_as_it_was(log):
    log.append([event(1), event(2)])
    log.append([event(3)])
    assert log.load() == [event(1), event(2), event(3)]


def test_only_the_last_ones_are_kept(log, tmp_path):
    for n in range(200):
        log.append([event(n)])
        kept = times(log)
        assert kept == list(range(kept[0], n + 1))
        assert len(kept) >= min(n + 1, 8)
        assert sum(each.stat().st_size for each in (tmp_path / "events").iterdir()) < 2200


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_cut_short_takes_no_other_with_it(log, tmp_path, cut):
    log.append([event(1), event(2)])
    path = tmp_path / "events" / "now.ndjson"
    os.truncate(path, path.stat().st_size - cut)
    assert times(log) == [1]
    log.append([event(3)])
    assert times(log) == [1, 3]


def test_a_line_that_is_no_event_is_left_out(log, tmp_path):
    log.append([event(1)])
    with (tmp_path / "events" / "now.ndjson").open("ab") as file:
        file.write(b"\xff{}\n[]\n\n")
    log.append([event(2)])
    assert times(log) == [1, 2]


def test_a_disk_that_fills_up_leaves_no_part_of_a_line(log, monkeypatch):
    log.append([event(1)])
    real, left = os.write, [30]

    def full(fd, data):
        if not left:
            raise OSError(errno.ENOSPC, "no space left")
        return real(fd, data[: left.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        log.append([event(2), event(3)])
    monkeypatch.undo()
    log.append([event(4)])
    assert times(log) == [1, 4]
