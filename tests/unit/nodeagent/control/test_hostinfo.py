"""What /proc tells."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from nodeagent.control.hostinfo import (
    choose_publish_addresses,
    parse_fib_trie,
    parse_if_inet6,
    read_addresses,
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


def test_v6_addresses():
    line = "fe80000000000000020c29fffe8b5c9e 02 40 20 80     eth0\n"
    assert parse_if_inet6(line) == [IPv6Address("fe80::20c:29ff:fe8b:5c9e")]


def test_this_host_has_a_loopback_and_memory():
    assert all(address.version in {4, 6} for address in read_addresses())
    assert read_memory_bytes() > 1 << 20


def test_a_port_is_not_open_to_the_world_by_default():
    host = [
        ip_address(t)
        for t in ("127.0.0.1", "10.0.0.5", "1.2.3.4", "172.20.0.1", "fe80::1", "fd00::5")
    ]
    ours = {ip_address("172.20.0.1")}
    chosen = choose_publish_addresses(("private",), host, ours)
    assert [str(each) for each in chosen] == ["127.0.0.1", "10.0.0.5", "fd00::5"]
    assert choose_publish_addresses(("0.0.0.0",), host, ours) == [ip_address("0.0.0.0")]
