"""What /proc tells."""

from ipaddress import IPv4Address, IPv4Network, IPv6Interface, ip_address

from nodeagent.control.hostinfo import (
    choose_publish_addresses,
    parse_fib_trie,
    parse_if_inet6,
    parse_routes,
    read_addresses,
    read_links,
    read_memory_bytes,
)

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.5
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
        |-- 10.0.0.5
           /32 host LOCAL
"""


def test_local_addresses_once_each():
    assert parse_fib_trie(TRIE) == [IPv4Address("10.0.0.5"), IPv4Address("127.0.0.1")]


def test_v6_addresses_that_can_be_bound():
    lines = [
        "fe80000000000000020c29fffe8b5c9e 02 40 20 80     eth0",
        "fd000000000000000000000000000005 02 40 00 c0     eth0",  # tentative
        "fd000000000000000000000000000006 02 40 00 88     eth0",  # somebody else has it
    ]
    assert parse_if_inet6("\n".join(lines)) == [IPv6Interface("fe80::20c:29ff:fe8b:5c9e/64")]


ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0002A8C0\t0101A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_networks_on_a_link_are_those_without_a_gateway():
    assert parse_routes(ROUTES) == [IPv4Network("192.168.1.0/24")]
    assert all(net.version in {4, 6} for net in read_links())


def test_this_host_has_a_loopback_and_memory():
    assert all(address.version in {4, 6} for address in read_addresses())
    assert read_memory_bytes() > 1 << 20


def test_a_port_is_not_open_to_the_world_by_default():
    host = [
        ip_address(t)
        for t in (
            "127.0.0.1",
            "10.0.0.5",
            "1.2.3.4",
            "192.0.2.1",
            "2001:db8::1",
            "100.64.0.1",
            "172.20.0.1",
            "fe80::1",
            "fd00::5",
        )
    ]
    ours = {ip_address("172.20.0.1")}
    chosen = choose_publish_addresses(("private",), host, ours)
    assert [str(each) for each in chosen] == ["127.0.0.1", "10.0.0.5", "fd00::5"]
    assert choose_publish_addresses(("0.0.0.0",), host, ours) == [ip_address("0.0.0.0")]
