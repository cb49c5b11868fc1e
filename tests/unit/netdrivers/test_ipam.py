"""Subnets and addresses: nothing twice, nothing outside, freed ones last."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdrivers import ipam
from netdrivers.errors import Exhausted, Invalid

subnets = st.builds(
    lambda number, length: ip_network((number >> (32 - length) << (32 - length), length)),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(12, 30),
)


@given(st.lists(subnets, max_size=30), st.integers(16, 28))
def test_a_free_subnet_overlaps_nothing_and_lies_in_its_pool(used, size):
    pool = IPv4Network("10.0.0.0/8")
    found = ipam.free_subnet([(pool, size)], used=used)
    assert found.prefixlen == size
    assert found.subnet_of(pool)
    assert not any(found.overlaps(each) for each in used)


@given(st.lists(subnets, max_size=8))
def test_a_free_subnet_is_the_first(used):
    pool = IPv4Network("10.0.0.0/12")
    slices = [net for net in pool.subnets(new_prefix=20) if not any(map(net.overlaps, used))]
    if slices:
        assert ipam.free_subnet([(pool, 20)], used=used) == slices[0]
    else:
        with pytest.raises(Exhausted):
            ipam.free_subnet([(pool, 20)], used=used)


def test_pools_are_used_in_order_and_families_do_not_mix():
    pools = [(ip_network("10.0.0.0/24"), 25), (ip_network("fd00::/48"), 64)]
    used = [ip_network("10.0.0.0/25"), ip_network("::/1")]
    assert ipam.free_subnet(pools, used=used) == ip_network("10.0.0.128/25")
    used.append(ip_network("10.0.0.128/26"))
    assert ipam.free_subnet(pools, used=used) == ip_network("fd00::/64")


def test_the_default_pools_hold_thousands_of_networks():
    used = []
    for _ in range(300):
        used.append(ipam.free_subnet(ipam.DEFAULT_POOLS, used=used))
    assert used[0] == ip_network("172.17.0.0/24")
    assert used[299] == ip_network("172.18.43.0/24")
    assert sum(1 << (size - base.prefixlen) for base, size in ipam.DEFAULT_POOLS) > 10_000


@given(st.sets(st.integers(0, 15)), st.none() | st.integers(0, 15))
def test_the_next_address_is_the_next_free_one_round_the_end(taken, after):
    net = ip_network("10.1.1.0/28")
    used = {net[number] for number in taken}
    free = [number for number in range(1, 15) if number not in taken]
    last = None if after is None else net[after]
    if not free:
        with pytest.raises(Exhausted):
            ipam.free_address(net, used=used, after=last)
        return
    later = [number for number in free if after is None or number > after]
    assert ipam.free_address(net, used=used, after=last) == net[(later or free)[0]]


def test_a_freed_address_is_not_used_again_at_once():
    net = ip_network("10.0.0.0/29")
    used = {net[1], net[2], net[3]}
    used.remove(net[3])
    assert ipam.free_address(net, used=used, after=net[3]) == net[4]


def test_a_range_bounds_the_choice():
    net, pool = ip_network("10.0.0.0/24"), ip_network("10.0.0.252/30")
    got = set()
    for _ in range(3):
        got.add(ipam.free_address(net, pool=pool, used=got, after=net[9]))
    assert got == {net[252], net[253], net[254]}
    with pytest.raises(Exhausted):
        ipam.free_address(net, pool=pool, used=got)


@pytest.mark.parametrize(
    ("text", "hosts"), [("10.0.0.0/31", 2), ("10.0.0.0/30", 2), ("fd00::/127", 2)]
)
def test_small_subnets(text, hosts):
    net, got = ip_network(text), set()
    for _ in range(hosts):
        got.add(ipam.free_address(net, used=got))
    assert len(got) == hosts == ipam.host_count(net)
    with pytest.raises(Exhausted):
        ipam.free_address(net, used=got)


def test_a_large_v6_subnet_costs_no_scan():
    net = ip_network("fd00::/64")
    assert ipam.free_address(net, used={net[1]}, after=net[-1]) == net[2]
    assert ipam.gateway(net) == net[1]


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/32", "0.0.0.0/0", "x/8",
             "127.0.0.0/8", "224.0.0.0/8", "0.0.0.0/8", "10.0.0.0/255.255.255.0.0", "::/64",
             "fe80::/64"],
)  # fmt: skip
def test_bad_subnets_name_their_field(text):
    with pytest.raises(Invalid) as caught:
        ipam.parse_subnet(text, field="subnets[0]")
    assert caught.value.fields["field"] == "subnets[0]"


def test_good_subnets_and_addresses():
    assert ipam.parse_subnet("10.1.0.0/16") == ip_network("10.1.0.0/16")
    assert ipam.parse_address("fd00::1") == ip_address("fd00::1")
    with pytest.raises(Invalid):
        ipam.parse_address("1.2.3")


@given(st.text(max_size=20))
def test_any_text_is_a_subnet_or_invalid(text):
    for parse in (ipam.parse_subnet, ipam.parse_address, ipam.parse_mac):
        try:
            parse(text)
        except Invalid:
            continue


def test_macs():
    assert ipam.parse_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    for bad in (
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "02:42",
        "02:42:ac:11:00:0g",
        "٠٢:42:ac:11:00:02",
    ):
        with pytest.raises(Invalid):
            ipam.parse_mac(bad)


@given(st.text())
def test_a_made_mac_is_local_unicast_and_stable(seed):
    mac = ipam.mac_for(seed)
    assert ipam.parse_mac(mac) == mac == ipam.mac_for(seed)
    assert int(mac[:2], 16) & 3 == 2


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("gateway", {"gateway": IPv4Address("10.0.1.1")}),
        ("gateway", {"gateway": IPv4Address("10.0.0.255")}),
        ("ip_range", {"ip_range": IPv4Network("10.0.0.0/23")}),
        ("ip_range", {"ip_range": ip_network("fd00::/64")}),
        ("aux_addresses", {"aux": [IPv4Address("10.0.0.0")]}),
        ("aux_addresses", {"aux": [IPv4Address("10.0.0.1")], "gateway": IPv4Address("10.0.0.1")}),
    ],
)
def test_what_does_not_fit_a_subnet_is_named(field, values):
    with pytest.raises(Invalid) as caught:
        ipam.check_subnet(IPv4Network("10.0.0.0/24"), **values)
    assert caught.value.fields["field"] == field


@pytest.mark.parametrize(
    ("field", "subnet", "gateway", "values"),
    [
        ("ip_range", "10.0.0.0/24", "10.0.0.1", {"ip_range": ip_network("10.0.0.0/31")}),
        ("ip_range", "10.0.0.0/24", "10.0.0.1", {"ip_range": ip_network("10.0.0.255/32")}),
        ("subnet", "10.0.0.0/30", "10.0.0.1", {"aux": [ip_address("10.0.0.2")]}),
        ("subnet", "fd00::/127", "fd00::", {"aux": [ip_address("fd00::1")]}),
    ],
)
def test_a_subnet_or_range_without_an_address_for_a_container(field, subnet, gateway, values):
    with pytest.raises(Invalid, match="no address is left") as caught:
        ipam.check_subnet(ip_network(subnet), gateway=ip_address(gateway), **values)
    assert caught.value.fields["field"] == field
    ipam.check_subnet(ip_network(subnet), gateway=ip_address(gateway))


def test_what_fits_a_subnet_passes():
    ipam.check_subnet(
        IPv4Network("10.0.0.0/24"),
        gateway=IPv4Address("10.0.0.1"),
        ip_range=IPv4Network("10.0.0.128/25"),
        aux=[IPv4Address("10.0.0.2")],
    )
