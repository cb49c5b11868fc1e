"""Counting."""

from netdrivers.dns.counts import BOUNDS_S, Counts


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
