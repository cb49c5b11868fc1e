"""The host's routes as address management sees them: of every table, none of ours."""

from ipaddress import ip_network


async def test_routes_of_every_table_and_every_kind_but_not_ours(host, engine, world):
    world.container("a", world.network("a", "10.1.0.0/24", "fd00:a::/64"), 2)
    world.container("b", world.macvlan("e", "198.51.100.0/24", host=250), 20)
    await engine.apply(world.desired, None)
    host.sh("ip route add 10.8.0.0/16 via 198.51.100.2 table 77; ip rule add table 77 pref 500")
    host.sh("ip route add blackhole 10.9.0.0/16; ip addr add 10.7.0.1/24 dev up0")
    host.sh("ip route add default via 198.51.100.2")
    found = {str(each) for each in await engine.host_routes()}
    assert {"10.8.0.0/16 dev up0", "10.9.0.0/16", "10.7.0.0/24 dev up0",
            "10.7.0.1/32 dev up0", "2001:db8::/64 dev up0"} <= found  # fmt: skip
    ours = [ip_network("10.1.0.0/24"), ip_network("fd00:a::/64"), ip_network("198.51.100.20/32")]
    nets = [each.to for each in await engine.host_routes()]
    assert not [net for net in nets for own in ours if net.version == own.version
                and net.subnet_of(own)]  # fmt: skip
    assert all(net.prefixlen for net in nets)
    assert not any(net.is_link_local or net.is_multicast for net in nets)
