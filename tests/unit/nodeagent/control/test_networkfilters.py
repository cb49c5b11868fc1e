"""Docker's filters of networks."""

import pytest

from nodeagent.control.networkfilters import check_filters, is_listed
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
    ("filters", "says"),
    [
        ({"nonsense": ["x"]}, "no such filter"),
        ({"until": ["1h"]}, "no such filter"),
        ({"dangling": ["maybe"]}, "no such value"),
        ({"type": ["own"]}, "no such value"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(filters, says):
    with pytest.raises(Invalid, match=says):
        check_filters(filters)
