"""What the filters of a prune mean."""

import pytest

from nodeagent.control.filters import Pruning
from nodeagent.control.times import parse_time
from nodeagent.errors import Invalid

NOW = parse_time("2026-01-01T02:00:00Z")


@pytest.mark.parametrize(
    ("filters", "goes"),
    [
        ({}, True),
        ({"label": ["a=b"]}, True),
        ({"label": ["a=c"]}, False),
        ({"label": ["a", "c"]}, False),
        ({"label!": ["a"]}, False),
        ({"label!": ["a=c"]}, True),
        ({"label!": ["c", "a=b"]}, False),
        ({"until": ["1h"]}, True),
        ({"until": ["3h"]}, False),
        ({"until": ["1h", "3h"]}, False),
        ({"until": ["2026-01-01T00:00:01Z"]}, True),
        ({"until": ["2026-01-01T00:00:00Z"]}, False),
        ({"label": ["a"], "until": ["3h"]}, False),
    ],
)
def test_pruning(filters, goes):
    pruning = Pruning.parse(filters, now=NOW)
    assert pruning.means({"a": "b"}, "2026-01-01T00:00:00Z") is goes


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"dangling": ["true"]}, "no such filter"),
        ({"until": ["yesterday"]}, "not a time"),
        ({"label": ["c"], "until": ["1h", "soon"]}, "not a time"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_before_anything_is_looked_at(filters, says):
    with pytest.raises(Invalid, match=says):
        Pruning.parse(filters, now=NOW)
