"""Who reaches whom over bridge networks, on a real kernel with an outside."""

import socket

import pytest

from netdrivers.contract import Desired


async def test_containers_of_one_network_talk_and_others_do_not(two, host):
    with host.listen(two["b"], 80), host.listen(two["c"], 80), host.listen(two["b"], 80, "::"):
        assert host.reaches(two["a"], "10.1.0.3", 80)
        assert host.reaches(two["a"], "fd00:a::3", 80)
        assert not host.connect(two["c"], "10.1.0.3", 80)
        assert not host.connect(two["a"], "10.2.0.2", 80)
        assert not host.connect(two["i"], "10.1.0.3", 80)


async def test_the_host_reaches_containers_and_they_reach_their_gateway(two, host):
    with host.listen(two["b"], 80), host.listen(host.home, 99), host.listen(two["i"], 80):
        assert host.reaches(host.home, "10.1.0.3", 80)
        assert host.reaches(host.home, "10.3.0.2", 80)
        assert host.reaches(two["a"], "10.1.0.1", 99)
        assert host.reaches(two["i"], "10.3.0.1", 99)


async def test_internal_networks_stay_inside(two, host):
    with (
        host.listen(two["j"], 80),
        host.listen(host.outside, 80),
        host.listen(host.home, 99),
        host.listen(two["b"], 80),
    ):
        assert host.reaches(two["i"], "10.3.0.3", 80)
        with host.inside(two["i"]):
            host.sh("ip route add default via 10.3.0.1")  # as a container with NET_ADMIN may
        assert not host.connect(two["i"], "198.51.100.2", 80)
        assert not host.connect(two["i"], "198.51.100.1", 99)
        assert not host.connect(two["i"], "198.51.100.1", 8080)
        assert not host.connect(host.outside, "10.3.0.3", 80)
        assert not host.connect(host.outside, "198.51.100.1", 8090)


async def test_containers_go_out_under_the_hosts_address(two, host):
    with host.listen(host.outside, 80) as server, host.listen(host.outside, 80, "::") as server6:
        assert host.reaches(two["a"], "198.51.100.2", 80)
        assert host.client_of(server) == "198.51.100.1"
        assert host.reaches(two["a"], "2001:db8::2", 80)
        assert host.client_of(server6) == "2001:db8::1"


@pytest.mark.parametrize("address", ["127.0.0.1", "198.51.100.1", "10.1.0.1", "2001:db8::1"])
async def test_a_published_port_from_the_host(two, host, address):
    with host.listen(two["b"], 80), host.listen(two["b"], 80, "::"):
        assert host.reaches(host.home, address, 8080)


@pytest.mark.parametrize("where", ["a", "b", "c"])
async def test_a_published_port_from_containers_hairpin_included(two, host, where):
    with host.listen(two["b"], 80), host.listen(two["b"], 80, "::"):
        assert host.reaches(two[where], "198.51.100.1", 8080)
        assert host.reaches(two[where], "198.51.100.1", 8082)
        if where != "c":
            assert host.reaches(two[where], "2001:db8::1", 8080)


async def test_a_published_port_from_outside_keeps_the_clients_address(two, host):
    with host.listen(two["b"], 80) as server, host.listen(two["b"], 80, "::") as server6:
        assert host.reaches(host.outside, "198.51.100.1", 8080)
        assert host.client_of(server) == "198.51.100.2"
        assert host.reaches(host.outside, "2001:db8::1", 8080)
        assert host.client_of(server6) == "2001:db8::2"


async def test_published_udp(two, host):
    with host.listen(two["b"], 80, kind="udp") as server:
        for place in (host.outside, two["c"], two["a"]):
            assert host.datagram(place, "198.51.100.1", 8080, server)
        assert host.datagram(host.home, "127.0.0.1", 8080, server)


async def test_a_port_on_one_address_is_on_no_other(two, host):
    with host.listen(two["b"], 80):
        assert host.reaches(host.home, "127.0.0.1", 8081)
        assert not host.connect(host.home, "198.51.100.1", 8081)
        assert host.reaches(host.outside, "198.51.100.1", 8082)
        assert not host.connect(host.home, "10.1.0.1", 8082)


async def test_a_port_on_loopback_is_closed_to_neighbours(two, host):
    with host.inside(host.outside):
        host.sh("ip route add 127.0.0.1/32 via 198.51.100.1 table 9; ip rule add to 127.0.0.1 "
                "lookup 9 pref 0; sysctl -qw net.ipv4.conf.up1.route_localnet=1; "
                "ip rule del lookup local; ip rule add lookup local pref 10")  # fmt: skip
    host.sh("sysctl -qw net.ipv4.conf.up0.route_localnet=1")
    with host.listen(two["b"], 80), host.listen(host.home, 98, "127.0.0.1"):
        assert not host.connect(host.outside, "127.0.0.1", 8081, source="198.51.100.2")
        assert not host.connect(host.outside, "127.0.0.1", 98, source="198.51.100.2")
    assert "drop" in host.nft()


async def test_containers_are_not_reached_directly_from_outside(two, host):
    with host.listen(two["b"], 80), host.listen(two["b"], 80, "::"):
        assert not host.connect(host.outside, "10.1.0.3", 80)
        assert not host.connect(host.outside, "fd00:a::3", 80)


async def test_traffic_that_is_not_ours_is_not_newly_forwarded(two, host):
    host.sh("ip link add foreign type bridge; ip addr add 10.9.0.1/24 dev foreign; "
            "ip link set foreign up; ip netns add t9 || true; ip netns del t9")  # fmt: skip
    assert "meta nfproto @guarded drop" in host.nft()
    assert host.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"


async def test_operator_chains_decide_first_and_are_kept(two, host, engine, world):
    host.sh("nft add rule inet nodeagent-test operator-before iifname up0 tcp dport 80 drop")
    host.sh("nft add rule inet nodeagent-test operator-after oifname up0 tcp dport 81 drop")
    with host.listen(two["b"], 80), host.listen(host.outside, 81), host.listen(host.outside, 80):
        assert not host.connect(host.outside, "198.51.100.1", 8080)
        assert not host.connect(two["a"], "198.51.100.2", 81)
        assert host.reaches(two["a"], "198.51.100.2", 80)
    assert (await engine.apply(world.desired, None)).ops == ()
    host.sh("nft flush chain inet nodeagent-test decide")
    assert len((await engine.apply(world.desired, None)).ops) == 1
    assert 'iifname "up0" tcp dport 80 drop' in host.nft()
    assert (await engine.apply(Desired(), None)).ops
    assert 'iifname "up0" tcp dport 80 drop' in host.nft()


async def test_a_client_that_goes_on_sending_finds_the_new_container(two, host, engine, world):
    with host.inside(host.outside):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client, host.listen(two["b"], 80, kind="udp") as old:
        client.connect(("198.51.100.1", 8080))
        client.send(b"one")
        assert old.recv(10) == b"one"
        world.remove("b")
        await engine.apply(world.desired, None)
        world.container("d", world.networks["a" * 64], 9, "udp:0.0.0.0:8080:80")
        await engine.apply(world.desired, None)
        with host.listen(two["a"].parent / "d", 80, kind="udp") as new:
            client.send(b"two")
            assert new.recv(10) == b"two"


async def test_a_host_that_begins_to_forward_goes_on_hearing_its_router(host, engine, world):
    host.sh("ip -6 route add default via 2001:db8::2 dev up0 proto ra")
    world.network("a", "10.1.0.0/24", "fd00:a::/64")
    await engine.apply(world.desired, None)
    assert host.sh("cat /proc/sys/net/ipv6/conf/up0/accept_ra").strip() == "2"
    assert host.sh("cat /proc/sys/net/ipv6/conf/br-aaaaaaaaaaaa/accept_ra").strip() == "0"
