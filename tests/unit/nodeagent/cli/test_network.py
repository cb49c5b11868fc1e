import pytest

from nodeagent.cli.grammar import UsageError
from nodeagent.cli.network import build_subnets


def test_subnets_take_what_lies_in_them():
    made = build_subnets(
        ["172.30.0.0/16", "fd00::/64"],
        ["fd00::1", "172.30.0.1"],
        ["172.30.5.0/24"],
        {"nas": "172.30.9.9"},
    )
    assert made == [
        {"subnet": "172.30.0.0/16", "gateway": "172.30.0.1", "ip_range": "172.30.5.0/24",
         "aux_addresses": {"nas": "172.30.9.9"}},
        {"subnet": "fd00::/64", "gateway": "fd00::1"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subnets", "gateways", "named"),
    [
        (["x"], [], "--subnet"),
        (["10.0.0.1/8"], [], "--subnet"),
        (["10.0.0.0/8"], ["11.0.0.1"], "--gateway"),
        (["10.0.0.0/8"], ["10.0.0.1", "10.0.0.2"], "--gateway"),
        ([], ["10.0.0.1"], "--gateway"),
    ],
)
def test_bad_subnets(subnets, gateways, named):
    with pytest.raises(UsageError, match=rf"^{named}"):
        build_subnets(subnets, gateways, [], {})
