"""Rights of nodes, and what is said of their number. What they come to: the system ring.

Covers nodeagent/control/nodes.py, nodeagent/control/storerights.py,
nodeagent/control/clusteradmin.py
"""

import pytest

from nodeagent.control.nodes import warn_managers
from nodeagent.control.storerights import build_network_permissions, build_permissions


def may(permissions, key: str, *, write: bool) -> bool:
    raw = key.encode()
    return any(
        (kind == 2 or (kind == 0 and not write))
        and (raw == begin if not end else begin <= raw < end)
        for kind, begin, end in permissions
    )


@pytest.mark.parametrize(
    ("key", "read", "write"),
    [
        ("/nodeagent/node/1/self", True, True),
        ("/nodeagent/node/1/alive", True, True),
        ("/nodeagent/node/1/spec", True, False),
        ("/nodeagent/node/12/self", True, False),
        ("/nodeagent/network/x", True, False),
        ("/nodeagent/ep/x/1/y", False, False),
        ("/nodeagent/trust", True, False),
        ("/nodeagent/secret/ca", False, False),
        ("/nodeagent/secret/tokens", False, False),
        ("/nodeagent/allocation", False, False),
        ("/other", False, False),
    ],
)
def test_what_a_worker_may_from_the_beginning(key, read, write):
    permissions = build_permissions("1")
    assert may(permissions, key, write=False) is read
    assert may(permissions, key, write=True) is write


@pytest.mark.parametrize(
    ("key", "read", "write"),
    [
        ("/nodeagent/ep/x/1/y", True, True),
        ("/nodeagent/ep/x/2/y", True, False),
        ("/nodeagent/ep/y/1/y", False, False),
        ("/nodeagent/addr/x/10.0.0.1", True, True),
        ("/nodeagent/addr/y/10.0.0.1", False, False),
        ("/nodeagent/secret/ca", False, False),
    ],
)
def test_what_entering_a_network_adds(key, read, write):
    permissions = build_network_permissions("x", "1")
    assert may(permissions, key, write=False) is read
    assert may(permissions, key, write=True) is write


@pytest.mark.parametrize(
    ("count", "warns"), [(1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (7, 0), (9, 1)]
)
def test_odd_numbers_of_managers_up_to_seven_are_good(count, warns):
    assert len(warn_managers(count)) == warns
