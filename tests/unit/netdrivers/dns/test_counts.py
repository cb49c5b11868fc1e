"""Counting."""

from netdrivers.dns.counts import BOUNDS_S, Counts, Upstreams


def test_a_kept_tally_is_the_one_counted():
    counts = Counts()
    counts.tally("noerror", "local")[0] += 2
    counts.tally("noerror", "local")[0] += 1
    assert counts.statistics() == {("noerror", "local"): 3}


def test_latency_is_cumulative_and_ends_with_all():
    counts = Counts()
    counts.took(BOUNDS_S[0], 2)
    counts.took(0.3, 1)
    counts.took(60.0, 1)
    bounds, cumulative, total = counts.latency()
    assert len(cumulative) == len(bounds) + 1
    assert cumulative[0] == 2
    assert cumulative[-2:] == [3, 4]
    assert cumulative[bounds.index(0.5)] == 3
    assert total == 2 * BOUNDS_S[0] + 60.3


def test_upstreams_are_counted_by_name_up_to_a_number():
    upstreams = Upstreams(max_names=2)
    for name in ("a", "b", "c", "d", "a"):
        upstreams.note(name, "answered", 0.1)
    upstreams.note("a", "timeout", 4.0)
    found = upstreams.statistics()
    assert {name: dict(each.outcomes) for name, each in found.items()} == {
        "a": {"answered": 2, "timeout": 1},
        "b": {"answered": 1},
        "other": {"answered": 2},
    }
    assert found["a"].latency[1][-1] == 2, "only the time of answers is kept"
