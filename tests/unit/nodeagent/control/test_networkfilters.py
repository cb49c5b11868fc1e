"""Docker's filters of networks."""

import pytest

from nodeagent.control.networkfilters import LS, PRUNE, check_filters, is_listed, is_pruned
from nodeagent.control.times import parse_time
from nodeagent.errors import Invalid
from tests.fakes.records import network

NET = network(name="frontend", labels={"a": "b"})
BRIDGE = network("b" * 64, name="bridge", predefined=True)


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({}, True),
        ({"name": ["front"]}, True),
        ({"name": ["back"]}, False),
        ({"name": ["back", "end"]}, True),
        ({"id": ["nnn"]}, True),
        ({"id": ["b"]}, False),
        ({"driver": ["bridge", "macvlan"]}, True),
        ({"driver": ["macvlan"]}, False),
        ({"type": ["custom"]}, True),
        ({"type": ["builtin"]}, False),
        ({"scope": ["local"]}, True),
        ({"scope": ["global"]}, False),
        ({"label": ["a"]}, True),
        ({"label": ["a=b"]}, True),
        ({"label": ["a=b", "c"]}, False),
        ({"dangling": ["true"]}, True),
        ({"dangling": ["false"]}, False),
        ({"name": ["front"], "driver": ["macvlan"]}, False),
    ],
)
def test_ls(filters, shown):
    assert is_listed(NET, filters, in_use=False) is shown


def test_dangling_is_what_prune_would_take():
    assert not is_listed(NET, {"dangling": ["true"]}, in_use=True)
    assert is_listed(NET, {"dangling": ["0"]}, in_use=True)
    assert not is_listed(BRIDGE, {"dangling": ["1"]}, in_use=False)
    assert is_listed(BRIDGE, {"type": ["builtin"]}, in_use=False)


@pytest.mark.parametrize(
    ("filters", "goes"),
    [
        ({}, True),
        ({"label": ["a=b"]}, True),
        ({"label": ["a=c"]}, False),
        ({"label!": ["a"]}, False),
        ({"label!": ["a=c"]}, True),
        ({"until": ["1h"]}, True),
        ({"until": ["3h"]}, False),
        ({"until": ["2026-01-01T00:00:01Z"]}, True),
        ({"until": ["2025-12-31T00:00:00Z"]}, False),
    ],
)
def test_prune(filters, goes):
    now = parse_time("2026-01-01T02:00:00Z")
    assert is_pruned(NET, filters, now=now) is goes


def test_a_predefined_network_is_never_pruned():
    assert not is_pruned(BRIDGE, {}, now=2e9)


@pytest.mark.parametrize(
    ("filters", "known", "says"),
    [
        ({"nonsense": ["x"]}, LS, "no such filter"),
        ({"until": ["1h"]}, LS, "no such filter"),
        ({"dangling": ["maybe"]}, LS, "no such value"),
        ({"type": ["own"]}, LS, "no such value"),
        ({"dangling": ["true"]}, PRUNE, "no such filter"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(filters, known, says):
    with pytest.raises(Invalid, match=says):
        check_filters(filters, known)


def test_a_time_that_is_none_is_refused():
    with pytest.raises(Invalid, match="not a time"):
        is_pruned(NET, {"until": ["yesterday"]}, now=0.0)
