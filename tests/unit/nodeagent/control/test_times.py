"""Times and sizes as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.times import (
    NEVER,
    build_ago,
    build_duration,
    build_size,
    build_time,
    parse_duration,
    parse_since,
    parse_time,
)
from nodeagent.errors import Invalid


@given(st.integers(min_value=1, max_value=4_000_000_000))
def test_times_come_back(seconds):
    assert parse_time(build_time(seconds)) == seconds


def test_never_is_dockers():
    assert build_time(0) == NEVER
    assert parse_time(NEVER) == 0


def test_nanoseconds_are_cut_to_what_python_knows():
    assert parse_time("2026-01-02T03:04:05.123456789Z") == pytest.approx(1767323045.123456)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("1.5s", 1.5), ("200ms", 0.2), ("2d", 172800)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "1h x", "-5m"])
def test_no_durations(text):
    assert parse_duration(text) is None


def test_since_takes_all_three_forms():
    assert parse_since("10m", now=1000, field="since") == 400
    assert parse_since("17.5", now=1000, field="since") == 17.5
    assert parse_since("1970-01-01T00:01:00Z", now=1000, field="since") == 60
    assert parse_since("", now=1000, field="since") == 0


def test_since_names_the_field():
    with pytest.raises(Invalid, match="field=until"):
        parse_since("yesterday", now=1000, field="until")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (3600 * 50, "2 days"),
        (86400 * 15, "2 weeks"),
        (86400 * 90, "3 months"),
        (86400 * 1000, "2 years"),
    ],
)
def test_ago(seconds, words):
    assert build_ago(seconds) == words


def test_sizes():
    assert [build_size(n) for n in (0, 999, 4270000, 1_230_000_000)] == [
        "0B",
        "999B",
        "4.27MB",
        "1.23GB",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (0.25, "250ms"), (1, "1s"), (1.5, "1.5s"), (60, "1m0s"), (90, "1m30s"),
     (3600, "1h0m0s"), (3725.5, "1h2m5.5s")],
)  # fmt: skip
def test_durations_are_written_as_go_does(seconds, words):
    assert build_duration(seconds) == words
    assert parse_duration(words) == seconds
