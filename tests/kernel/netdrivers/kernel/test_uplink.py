"""The MTU that networks take over when nobody names one."""


async def test_the_mtu_is_that_of_the_default_routes_link(host, engine):
    assert await engine.uplink_mtu() == 0
    host.sh("ip link set up0 mtu 1420; ip -6 route add default via 2001:db8::2 dev up0")
    assert await engine.uplink_mtu() == 1420
    host.sh("ip link add other mtu 1300 type veth peer name other1; ip link set other up")
    host.sh("ip addr add 192.0.2.1/24 dev other; ip route add default via 192.0.2.2 metric 50")
    assert await engine.uplink_mtu() == 1300
    host.sh("ip route add default via 198.51.100.2 metric 20")
    assert await engine.uplink_mtu() == 1420


async def test_a_default_route_to_nowhere_has_none(host, engine):
    host.sh("ip route add blackhole default; ip -6 route add unreachable default")
    assert await engine.uplink_mtu() == 0
