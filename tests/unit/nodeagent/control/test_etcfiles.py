"""/etc/hosts and /etc/resolv.conf of a container."""

from nodeagent.control.etcfiles import (
    build_hosts,
    build_resolv_conf,
    merge_hosts,
    parse_nameservers,
)
from tests.fakes.records import container, endpoint

HOST = "search corp.example\nnameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n"
JOINED = {"n" * 64: endpoint()}


def test_hosts_has_the_containers_own_address_and_added_ones():
    record = container(
        endpoints=JOINED, request={"extra_hosts": ["db:10.0.0.9", "up:host-gateway"]}
    )
    text = build_hosts(record, ["172.20.0.1", "fd00::1"])
    assert "172.20.0.2\t" + "a" * 12 in text
    assert "10.0.0.9\tdb" in text
    assert "172.20.0.1\tup\nfd00::1\tup" in text
    assert "ip6" not in text


def test_ipv6_brings_its_five_lines():
    text = build_hosts(container(endpoints={"n" * 64: endpoint(address="fd00::2/64")}), [])
    assert sum("ip6-" in line for line in text.splitlines()) == 5


def test_the_containers_own_lines_stay():
    record = container(endpoints=JOINED)
    before, after = build_hosts(record, []), build_hosts(container(), [])
    own = "192.0.2.1 mine"
    assert merge_hosts(f"{before}{own}\n", before, after) == f"{after}{own}\n"
    assert merge_hosts("", before, after) == after


def test_resolv_conf_names_our_server_and_keeps_the_search_list():
    text = build_resolv_conf(container(endpoints=JOINED), HOST)
    assert text == "nameserver 127.0.0.11\nsearch corp.example\noptions edns0 ndots:0\n"


def test_a_given_ndots_wins():
    record = container(endpoints=JOINED, request={"dns_options": ["ndots:2"], "dns_search": ["."]})
    assert build_resolv_conf(record, HOST) == "nameserver 127.0.0.11\noptions ndots:2\n"


def test_host_mode_has_the_hosts_file():
    assert build_resolv_conf(container(network_mode="host"), HOST) == HOST


def test_upstreams_are_the_hosts_but_never_ourselves():
    assert parse_nameservers(HOST + "nameserver 127.0.0.11\n") == ("127.0.0.53", "9.9.9.9")
