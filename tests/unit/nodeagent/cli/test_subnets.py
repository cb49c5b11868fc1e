"""Flags of ``network create``. Covers nodeagent/cli/network.py."""

import pytest

from netdrivers import bridge, macvlan
from nodeagent.cli.grammar import UsageError, Values, render_help
from nodeagent.cli.network import VERBS
from nodeagent.cli.subnets import build_subnets, check_swarm_flags


def test_subnets_take_what_lies_in_them():
    made = build_subnets(
        ["172.30.0.0/16", "fd00::/64"],
        ["fd00::1", "172.30.0.1"],
        ["172.30.5.0/24"],
        ["nas=172.30.9.9", "host=172.30.9.1", "host=fd00::9"],
    )
    assert made == [
        {"subnet": "172.30.0.0/16", "gateway": "172.30.0.1", "ip_range": "172.30.5.0/24",
         "aux_addresses": {"nas": "172.30.9.9", "host": "172.30.9.1"}},
        {"subnet": "fd00::/64", "gateway": "fd00::1", "aux_addresses": {"host": "fd00::9"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subnets", "gateways", "named"),
    [
        (["x"], ["10.0.0.1"], "--subnet"),
        (["10.0.0.1/8"], ["10.0.0.1"], "--subnet"),
        (["10.0.0.0/8"], ["11.0.0.1"], "--gateway"),
        (["10.0.0.0/8"], ["10.0.0.1", "10.0.0.2"], "--gateway"),
        ([], ["10.0.0.1"], "--gateway"),
    ],
)
def test_bad_subnets(subnets, gateways, named):
    with pytest.raises(UsageError, match=rf"^{named}"):
        build_subnets(subnets, gateways, [], [])


@pytest.mark.parametrize(
    ("others", "why"),
    [
        (["=10.0.0.9"], "NAME=IP"),
        (["10.0.0.9"], "NAME=IP"),
        (["a="], "NAME=IP"),
        (["a=11.0.0.1"], "no --subnet"),
        (["a=10.0.0.2", "a=10.0.0.3"], "twice"),
    ],
)
def test_bad_reserved_addresses(others, why):
    with pytest.raises(UsageError, match=rf"^--aux-address: .*{why}"):
        build_subnets(["10.0.0.0/8"], [], [], others)


@pytest.mark.parametrize(
    ("flag", "value", "fine"),
    [
        ("attachable", "true", True),
        ("scope", "local", True),
        ("ipam-driver", "default", True),
        ("scope", "swarm", False),
        ("ipam-driver", "dhcp", False),
        ("ipam-opt", "a=b", False),
        ("config-only", "true", False),
        ("config-from", "other", False),
    ],
)
def test_flags_that_ask_for_nothing_are_accepted_and_others_refused(flag, value, fine):
    (create,) = [verb for verb in VERBS if verb.name == "create"]
    values = Values(create.flags)
    values.set(next(each for each in create.flags if each.name == flag), value)
    if fine:
        check_swarm_flags(values)
        return
    with pytest.raises(UsageError, match=f"--{flag}"):
        check_swarm_flags(values)


def test_the_help_of_create_has_every_option_of_the_drivers():
    (create,) = [verb for verb in VERBS if verb.name == "create"]
    said = render_help("nodeagent network create", create)
    assert [each for each in sorted(bridge.KNOWN | macvlan.KNOWN) if f"  {each}=" not in said] == []
