"""Subnets of a new network: what may overlap what, and where they come from."""

from ipaddress import ip_network

import pytest

from netdrivers.errors import Exhausted
from netdrivers.errors import Invalid as Unfit
from nodeagent.control.subnets import Taken, choose_subnets, is_on_wire
from nodeagent.errors import Invalid
from nodeagent.model.network import NetworkCreate, SubnetRequest
from tests.fakes.records import network

POOLS = (("10.0.0.0/8", 24),)


def choose(*subnets, taken=None, on_wire=False, pools=POOLS, parent="", **fields):
    asked = [SubnetRequest(subnet=each) if isinstance(each, str) else each for each in subnets]
    options = {"parent": parent} if parent else {}
    request = NetworkCreate(name="demo", subnets=asked, options=options, **fields)
    chosen = choose_subnets(
        request, taken or Taken(), on_wire=on_wire, pools=pools, new_id=lambda: "0123456789" * 6
    )
    return [(each.subnet, each.gateway) for each in chosen]


def wire(parent="eth0", **fields):
    return network(
        driver="macvlan", on_wire=True, options={"parent": parent}, subnet="192.0.2.0/24", **fields
    )


@pytest.mark.parametrize(
    "asked",
    ["172.20.0.0/24", "172.20.0.0/16", "172.20.0.64/26", "172.20.0.0/23", "172.20.0.128/25"],
)
def test_a_subnet_that_overlaps_one_of_ours_is_refused(asked):
    with pytest.raises(Invalid, match=r"overlaps=172.20.0.0/24") as caught:
        choose(asked, taken=Taken(networks=[network()]))
    assert caught.value.fields["field"] == "subnets[0].subnet"


def test_disjoint_ones_pass_and_two_of_one_network_may_not_overlap():
    taken = Taken(networks=[network()])
    assert choose("172.20.1.0/24", taken=taken) == [("172.20.1.0/24", "172.20.1.1")]
    with pytest.raises(Invalid, match="overlaps"):
        choose("10.1.0.0/16", "10.1.2.0/24")


def test_pools_avoid_ours_routes_and_name_servers_but_not_default_routes_in_disguise():
    avoid = [ip_network(each) for each in ("10.0.1.0/24", "10.0.2.53/32", "0.0.0.0/1", "2000::/3")]
    taken = Taken(networks=[network(subnet="10.0.0.0/24")], avoid=avoid)
    assert choose(taken=taken) == [("10.0.3.0/24", "10.0.3.1")]
    with pytest.raises(Exhausted):
        choose(taken=taken, pools=(("10.0.0.0/24", 24),))
    with pytest.raises(Invalid, match=r"overlaps=10.0.2.53"):
        choose("10.0.2.0/24", taken=taken)


def test_ipv6_comes_from_a_random_prefix_unless_given():
    assert choose(ipv6=True)[1] == ("fd01:2345:6789::/64", "fd01:2345:6789::1")
    assert [each for each, _ in choose("fd00::/64", ipv6=True)] == ["fd00::/64", "10.0.0.0/24"]


@pytest.mark.parametrize(
    ("off", "subnet"), [("ipv4", "10.1.0.0/24"), ("ipv6", "fd00::/64"), ("ipv6", "2001:db8::/64")]
)
def test_a_family_that_is_turned_off_has_no_subnet(off, subnet):
    for on_wire in (False, True):
        with pytest.raises(Invalid, match="turned off") as caught:
            choose(subnet, on_wire=on_wire, **{off: False})
        assert caught.value.fields["field"] == off
    assert choose(subnet)[0][0] == subnet  # not said: the subnet says it


def test_a_wires_subnet_may_be_that_of_the_host_but_not_one_of_ours():
    avoid = [ip_network("192.0.2.0/24"), ip_network("192.0.2.1/32")]
    taken = Taken(networks=[network()], avoid=avoid)
    assert choose("192.0.2.0/24", taken=taken, on_wire=True) == [("192.0.2.0/24", "192.0.2.1")]
    with pytest.raises(Invalid, match="wire"):
        choose("172.20.0.0/25", taken=taken, on_wire=True)


def test_two_wires_may_have_one_subnet_one_wire_not_two_of_them():
    taken = Taken(networks=[wire()])
    for parent in ("eth1", "eth0.30"):
        assert choose("192.0.2.0/24", taken=taken, on_wire=True, parent=parent)
    with pytest.raises(Invalid, match="overlaps"):
        choose("192.0.2.0/25", taken=taken, on_wire=True, parent="eth0")
    with pytest.raises(Invalid, match="overlaps"):  # a bridge's, on this host
        choose("192.0.2.0/24", taken=taken)


def test_a_wires_subnets_are_never_of_our_choice():
    with pytest.raises(Invalid, match="--subnet") as caught:
        choose(on_wire=True)
    assert caught.value.fields["field"] == "subnets"
    with pytest.raises(Invalid, match="IPv6"):
        choose("192.0.2.0/24", on_wire=True, ipv6=True)
    assert choose("2001:db8::/64", on_wire=True) == [("2001:db8::/64", "2001:db8::1")]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"gateway": "10.2.0.1"}, "gateway"),
        ({"gateway": "10.1.0.0"}, "gateway"),
        ({"gateway": "x"}, "subnets[0].gateway"),
        ({"ip_range": "10.2.0.0/25"}, "ip_range"),
        ({"ip_range": "10.1.0.1/25"}, "subnets[0].ip_range"),
        ({"aux_addresses": {"host": "10.2.0.9"}}, "aux_addresses"),
        ({"aux_addresses": {"host": "10.1.0.1"}}, "aux_addresses"),
    ],
)
def test_what_does_not_fit_names_the_field(fields, name):
    with pytest.raises(Unfit) as caught:
        choose(SubnetRequest(subnet="10.1.0.0/24", **fields))
    assert caught.value.fields["field"] == name


@pytest.mark.parametrize("subnet", ["10.1.0.0/32", "10.1.0.1/24", "0.0.0.0/0", "fd00::/128", "x"])
def test_what_is_no_subnet_is_refused(subnet):
    with pytest.raises(Unfit) as caught:
        choose(subnet)
    assert caught.value.fields["field"] == "subnets[0].subnet"


def test_subnets_of_two_addresses():
    assert choose("10.1.0.0/31") == [("10.1.0.0/31", "10.1.0.0")]
    assert choose("fd00::/127")[0] == ("fd00::/127", "fd00::")
    assert choose(SubnetRequest(subnet="10.1.0.0/24", ip_range="10.1.0.9/32"))


def test_all_on_a_wire():
    assert is_on_wire([wire()])
    assert not is_on_wire([wire(), network()])
    assert not is_on_wire([])
