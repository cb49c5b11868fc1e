"""Who reaches whom over bridge networks, on a real kernel with an outside."""

import socket
from dataclasses import replace

import pytest

from netdrivers.bridge import GATEWAY_MODE, ICC, TRUSTED
from netdrivers.contract.specs import Desired
from netdrivers.engine import Engine
from netdrivers.kernel.linux import LinuxKernel
from tests.fakes.apply_cases import ANYWHERE, with_options


@pytest.mark.parametrize("case", ANYWHERE, ids=lambda case: case.__name__)
async def test_apply_with_every_option(case, host, run_dir):
    async def make(kernel) -> Engine:
        engine = Engine(run_dir, agent_id="test", kernel=kernel)
        await engine.open()
        return engine

    kernel = LinuxKernel(run_dir, "test")
    await kernel.open()
    await case(make, kernel, with_options)
    await kernel.close()


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
async def test_a_published_port_from_containers_hairpin_included(hooks, two, host, where):
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


async def test_a_published_port_from_a_container_keeps_its_address_where_it_can(hooks, two, host):
    with host.listen(two["b"], 80) as server:
        assert host.reaches(two["c"], "198.51.100.1", 8080)
        assert host.client_of(server) == "10.2.0.2"
        assert host.reaches(two["a"], "198.51.100.1", 8080)
        # without hooks on the bridge, the answer to a neighbour would be seen by nobody but it
        assert host.client_of(server) == ("10.1.0.2" if hooks else "10.1.0.1")
        assert host.reaches(two["b"], "198.51.100.1", 8080)
        assert host.client_of(server) == "10.1.0.1"


async def test_a_client_whose_network_the_server_is_on_too(two, host, engine, world):
    b = next(ep for ep in world.endpoints.values() if ep.sandbox_id == "b")
    beside = world.join("b", world.networks["b" * 64], 3, default=False)
    world.endpoints[beside] = replace(world.endpoints[beside], served=b.served)
    await engine.apply(world.desired, None)
    with host.listen(two["b"], 80) as server:
        assert host.reaches(two["c"], "198.51.100.1", 8080)
        assert host.client_of(server) == "10.1.0.1"


async def test_two_networks_under_strict_reverse_path_filtering(two, host, engine, world):
    host.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1")
    b = next(ep for ep in world.endpoints.values() if ep.sandbox_id == "b")
    beside = world.join("b", world.networks["b" * 64], 3, default=False)
    world.endpoints[beside] = replace(world.endpoints[beside], served=b.served)
    await engine.apply(world.desired, None)
    with host.inside(two["b"]):
        host.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth1.rp_filter=1")
    with host.listen(two["b"], 80) as server, host.listen(two["b"], 80, kind="udp") as datagrams:
        for place in (host.outside, host.home, two["a"], two["c"]):
            assert host.reaches(place, "198.51.100.1", 8080), place
        assert host.datagram(two["c"], "198.51.100.1", 8080, datagrams)
        assert host.client_of(server) == "198.51.100.2"


async def test_a_port_of_a_container_with_its_route_elsewhere(two, host, engine, world):
    ep = next(ep for ep in world.endpoints.values() if ep.sandbox_id == "b")
    world.endpoints[ep.id] = replace(ep, default_gateway=())
    await engine.apply(world.desired, None)
    with host.listen(two["b"], 80) as server:
        assert host.reaches(host.outside, "198.51.100.1", 8080)
        assert host.client_of(server) == "10.1.0.1"


async def test_published_udp(hooks, two, host):
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


async def test_neighbours_have_no_business_at_a_gateways_address(two, host):
    with (
        host.listen(host.home, 99, "10.1.0.1"),
        host.listen(host.home, 99, "fd00:a::1"),
        host.listen(host.home, 99, "10.3.0.1"),
        host.listen(host.home, 98),
    ):
        for address in ("10.1.0.1", "fd00:a::1", "10.3.0.1"):
            assert not host.connect(host.outside, address, 99), address
        assert host.reaches(host.outside, "198.51.100.1", 98)
        assert host.reaches(host.home, "10.1.0.1", 99)
        assert host.reaches(two["c"], "10.1.0.1", 99), "as host.docker.internal does"
        assert host.reaches(two["a"], "fd00:a::1", 99)


async def test_a_gateways_address_is_answered_when_the_host_asks_from_it(two, host):
    with host.listen(host.outside, 80):
        assert host.reaches(host.home, "198.51.100.2", 80, source="10.1.0.1")


@pytest.fixture
async def apart(hooks, host, engine, world, run_dir):
    net = world.network("f", "10.6.0.0/24", "fd00:f::/64", options={ICC: "false"})
    world.container("one", net, 2)
    world.container("two", net, 3, "tcp:0.0.0.0:8080:80", "tcp::::8080:80", "udp:0.0.0.0:8080:80")
    await engine.apply(world.desired, None)
    return {name: run_dir / "netns" / name for name in world.sandboxes}


async def test_containers_apart_meet_at_published_ports_only(apart, host):
    with (
        host.listen(apart["two"], 80),
        host.listen(apart["two"], 80, "::"),
        host.listen(apart["two"], 80, kind="udp") as datagrams,
    ):
        assert not host.connect(apart["one"], "10.6.0.3", 80)
        assert not host.connect(apart["one"], "fd00:f::3", 80)
        assert host.reaches(apart["one"], "198.51.100.1", 8080)
        assert host.reaches(apart["one"], "2001:db8::1", 8080)
        assert host.datagram(apart["one"], "198.51.100.1", 8080, datagrams)
        assert host.reaches(apart["two"], "198.51.100.1", 8080)
        assert host.reaches(host.home, "10.6.0.3", 80)
        assert host.reaches(host.outside, "198.51.100.1", 8080)


async def test_containers_apart_do_not_meet_by_way_of_the_gateway(apart, host):
    with host.inside(apart["one"]):  # as a container with NET_ADMIN may
        host.sh(
            "ip route add 10.6.0.3/32 via 10.6.0.1; ip -6 route add fd00:f::3/128 via fd00:f::1"
        )
    with host.listen(apart["two"], 80), host.listen(apart["two"], 80, "::"):
        assert not host.connect(apart["one"], "10.6.0.3", 80)
        assert not host.connect(apart["one"], "fd00:f::3", 80)


async def test_a_network_is_put_apart_and_together_again(apart, host, engine, world):
    net = world.networks["f" * 64]
    with host.listen(apart["two"], 80):
        world.networks[net.id] = replace(net, options={})
        assert (await engine.apply(world.desired, None)).ops
        assert host.reaches(apart["one"], "10.6.0.3", 80)
        world.networks[net.id] = net
        await engine.apply(world.desired, None)
        assert not host.connect(apart["one"], "10.6.0.3", 80)


@pytest.fixture
async def routed(host, engine, world, run_dir):
    modes = {GATEWAY_MODE[4]: "routed", GATEWAY_MODE[6]: "routed"}
    net = world.network("d", "10.4.0.0/24", "fd00:d::/64", options=modes)
    ports = ["tcp:10.4.0.2:80:80", "udp:10.4.0.2:80:80", "tcp:fd00:d::2:80:80"]
    world.container("web", net, 2, *ports)
    world.container("c", world.network("b", "10.2.0.0/24"), 2)
    await engine.apply(world.desired, None)
    return {name: run_dir / "netns" / name for name in world.sandboxes}


async def test_a_routed_network_answers_at_its_own_addresses(routed, host):
    web = routed["web"]
    with (
        host.listen(web, 80) as server,
        host.listen(web, 81),
        host.listen(web, 80, "::"),
        host.listen(web, 80, kind="udp") as datagrams,
        host.listen(host.outside, 80) as outside,
    ):
        assert host.reaches(host.outside, "10.4.0.2", 80)
        assert host.client_of(server) == "198.51.100.2"
        assert host.reaches(host.outside, "fd00:d::2", 80)
        assert host.datagram(host.outside, "10.4.0.2", 80, datagrams)
        assert not host.connect(host.outside, "10.4.0.2", 81)
        assert not host.connect(host.outside, "fd00:d::2", 81)
        assert host.reaches(routed["c"], "10.4.0.2", 80)
        assert not host.connect(routed["c"], "10.4.0.2", 81)
        assert host.reaches(host.home, "10.4.0.2", 81)
        assert host.reaches(web, "198.51.100.2", 80)
        assert host.client_of(outside) == "10.4.0.2", "nothing is translated"
    assert host.echo(host.outside, "10.4.0.2")
    assert host.echo(host.outside, "fd00:d::2")


async def test_an_unprotected_network_and_a_trusted_link(host, engine, world, run_dir):
    modes = {GATEWAY_MODE[4]: "nat-unprotected", GATEWAY_MODE[6]: "nat"}
    open_ = world.network("d", "10.4.0.0/24", "fd00:d::/64", options=modes)
    world.container("open", open_, 2)
    shut = world.network("e", "10.5.0.0/24", options={TRUSTED: "nowhere0:up0"})
    world.container("shut", shut, 2)
    world.container("c", world.network("b", "10.2.0.0/24"), 2)
    await engine.apply(world.desired, None)
    spaces = {name: run_dir / "netns" / name for name in world.sandboxes}
    with (
        host.listen(spaces["open"], 81),
        host.listen(spaces["open"], 81, "::"),
        host.listen(spaces["shut"], 81),
        host.listen(host.outside, 80) as outside,
    ):
        assert host.reaches(host.outside, "10.4.0.2", 81)
        assert not host.connect(host.outside, "fd00:d::2", 81)
        assert host.reaches(host.outside, "10.5.0.2", 81)
        assert not host.connect(spaces["c"], "10.5.0.2", 81)
        assert host.reaches(spaces["open"], "198.51.100.2", 80)
        assert host.client_of(outside) == "198.51.100.1"


async def test_an_isolated_network_has_no_gateway_and_its_containers_talk(
    host, engine, world, run_dir
):
    modes = {GATEWAY_MODE[4]: "isolated", GATEWAY_MODE[6]: "isolated"}
    net = world.network("c", "10.3.0.0/24", "fd00:c::/64", internal=True, options=modes)
    for number, name in enumerate(("i", "j"), start=2):
        world.container(name, net, number)
    await engine.apply(world.desired, None)
    assert "inet" not in host.sh("ip addr show br-cccccccccccc")
    with host.listen(run_dir / "netns" / "j", 80), host.listen(run_dir / "netns" / "j", 80, "::"):
        assert host.reaches(run_dir / "netns" / "i", "10.3.0.3", 80)
        assert host.reaches(run_dir / "netns" / "i", "fd00:c::3", 80)
        assert not host.connect(host.home, "10.3.0.3", 80)


async def test_a_network_of_ipv6_alone(host, engine, world, run_dir):
    world.container("six", world.network("a", "fd00:a::/64"), 2, "tcp::::8080:80")
    await engine.apply(world.desired, None)
    assert host.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    with host.listen(run_dir / "netns" / "six", 80, "::"):
        assert host.reaches(host.outside, "2001:db8::1", 8080)


async def test_the_table_of_a_former_version_becomes_that_of_this_one(host, engine, world):
    host.sh("nft add table inet nodeagent-test; nft 'add set inet nodeagent-test nat "
            "{ type ifname; }'; nft add chain inet nodeagent-test decide; "
            "nft add chain inet nodeagent-test stamp-old; "
            "nft add element inet nodeagent-test nat '{ \"br-old\" }'")  # fmt: skip
    world.network("a", "10.1.0.0/24")
    await engine.apply(world.desired, None)
    text = host.nft()
    assert "set nat" not in text
    assert "stamp-old" not in text
    assert "set hidden" in text
    assert (await engine.apply(world.desired, None)).ops == ()
