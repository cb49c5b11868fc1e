import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.quantities import parse_cpus, parse_port_range, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("64m", 64 << 20), ("64M", 64 << 20), ("64mb", 64 << 20), ("64MiB", 64 << 20),
     ("1.5g", 3 << 29),
     ("1024", 1024), ("10b", 10), ("2k", 2048), ("1t", 1 << 40), ("0", 0), ("1 g", 1 << 30)],
)  # fmt: skip
def test_sizes(words, wanted):
    assert parse_size("memory", words) == wanted


@pytest.mark.parametrize("words", ["", "m", "-1", "64x", "1.5.2g", "1,5g", "64 mm", "1e3", " 5"])
def test_bad_sizes_name_the_flag(words):
    with pytest.raises(UsageError, match=r"^--shm-size: .*64m"):
        parse_size("shm-size", words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("1.5", 1_500_000_000), ("2", 2 * 10**9), (".5", 500_000_000), ("0.000000001", 1),
     ("1.", 10**9)],
)  # fmt: skip
def test_cpus(words, wanted):
    assert parse_cpus(words) == wanted


@pytest.mark.parametrize("words", ["", ".", "-1", "1.0000000001", "two", "1e3"])
def test_bad_cpus(words):
    with pytest.raises(UsageError, match=r"--cpus"):
        parse_cpus(words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("0", 0),
        (".5s", 0.5),
        ("1.s", 1),
    ],
)
def test_durations(words, wanted):
    assert parse_seconds("health-interval", words) == wanted


@pytest.mark.parametrize("words", ["", "30", "s", "1x", "-1s", "1s2", "1 s"])
def test_bad_durations(words):
    with pytest.raises(UsageError, match=r"--health-interval"):
        parse_seconds("health-interval", words)


@given(st.integers(0, 10**15))
def test_nano_cpus_are_exact(nano):
    assert parse_cpus(f"{nano // 10**9}.{nano % 10**9:09d}") == nano


@given(st.integers(1, 65535), st.integers(0, 100))
def test_ranges(first, more):
    last = min(first + more, 65535)
    assert list(parse_port_range("p", f"{first}-{last}")) == list(range(first, last + 1))
