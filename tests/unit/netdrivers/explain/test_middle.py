"""What the host lets through: gateway modes, and containers that are kept apart."""

import pytest

from netdrivers.explain.judge import judge
from tests.unit.netdrivers.explain.scene import OUT, trip, whole


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
