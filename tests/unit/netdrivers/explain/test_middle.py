"""What the host lets through: gateway modes, and containers that are kept apart."""

from ipaddress import ip_address

import pytest

from netdrivers.explain.facts import Untracked
from netdrivers.explain.judge import judge
from tests.unit.netdrivers.explain.scene import OUT, changed, trip, whole


@pytest.mark.parametrize(
    ("mode", "port", "protocol", "open_"),
    [
        ("nat", 80, "tcp", False),
        ("routed", 80, "tcp", True),
        ("routed", 81, "tcp", False),
        ("routed", 0, "icmp", True),
        ("nat-unprotected", 80, "tcp", True),
    ],
)
def test_a_network_that_is_open(mode, port, protocol, open_) -> None:
    options = {"com.docker.network.bridge.gateway_mode_ipv4": mode}
    asked = trip(source=None, source_ip=OUT, port=port, protocol=protocol, options=options.items())
    found = judge(asked, whole())
    isolation = next(hop for hop in found.hops if hop.place == "isolation")
    assert (isolation.state == "ok") is open_


def test_containers_kept_apart() -> None:
    options = {"com.docker.network.bridge.enable_icc": "false"}
    found = judge(trip(options=options.items()), whole())
    assert "containers of network a are kept apart" in found.summary


@pytest.mark.parametrize(
    ("fields", "suspect"),
    [
        ({}, True),
        ({"protocol": "tcp", "port": 8080}, True),
        ({"port": 80}, True),  # of the answer
        ({"protocol": "udp", "port": 8080}, False),
        ({"protocol": "tcp", "port": 123}, False),
    ],
)
def test_a_rule_that_may_keep_a_published_port_untranslated(fields, suspect) -> None:
    asked = trip(source=None, source_ip=OUT, target=ip_address("198.51.100.1"), port=8080)
    rule = Untracked(where="rule 3 of chain raw in table ip foreign", fix="nft delete", **fields)
    found = judge(asked, changed(whole(), "", untracked=(rule,)))
    assert found.reachable is None  # nobody knows whether it fits
    hops = [hop for hop in found.hops if hop.state == "suspect"]
    assert [hop.fix for hop in hops] == ["nft delete"] * suspect
    assert ("suspect: tracking of this host: notrack by rule 3" in found.summary) is suspect
