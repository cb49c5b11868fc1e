"""From records to names."""

from ipaddress import ip_address

import pytest

from nodeagent.control.names import (
    Member,
    NameRow,
    build_services,
    build_view,
    build_zone,
    endpoint_names,
    name_rows,
)
from nodeagent.model.containerrequest import PortBinding
from tests.fakes.records import container, endpoint, network

DEMO, INNER = "n" * 64, "i" * 64
NETWORKS = {DEMO: network(), INNER: network(INNER, name="inner", internal=True)}
ONE, TWO, SIX = map(ip_address, ("172.20.0.2", "172.20.0.3", "fd00::2"))


def member(id_="a" * 64, address="172.20.0.2/24", *, is_ready=True, aliases=(), **fields):
    place = endpoint(DEMO, address, aliases=list(aliases))
    record = container(id_, endpoints={DEMO: place}, network_mode=DEMO, **fields)
    return Member(record=record, is_ready=is_ready)


def zone(*members):
    return build_zone(NETWORKS[DEMO], members)


def addresses(found):
    return {name: [a for host in hosts for a in host.addresses] for name, hosts in found.items()}


def test_names_aliases_and_the_short_id_lead_to_the_container():
    found = zone(member(aliases=["WWW"]), member("b" * 64, "10.0.0.9/24", name="other"))
    assert addresses(found.names)["www"] == [ONE]
    assert set(found.names) == {"web", "www", "a" * 12, "other", "b" * 12}
    assert found.reverse[ONE] == "web"


def test_who_is_elsewhere_has_no_name_here():
    assert not build_zone(NETWORKS[INNER], [member()]).names


def test_two_containers_with_one_alias_are_both_answered():
    found = zone(
        member(aliases=["www"]), member("b" * 64, "172.20.0.3/24", name="Web2", aliases=["www"])
    )
    assert addresses(found.names)["www"] == [ONE, TWO]
    assert "web2" in found.names


def test_a_name_and_an_alias_that_are_the_same_are_one():
    assert addresses(zone(member(aliases=["WEB"])).names)["web"] == [ONE]


def test_readiness_is_part_of_it():
    found = zone(member(), member("b" * 64, "172.20.0.3/24", name="sick", is_ready=False))
    assert [found.names[name][0].is_ready for name in ("web", "sick")] == [True, False]
    assert name_rows(found) == [
        NameRow(name="a" * 12, addresses=(str(ONE),), is_ready=True),
        NameRow(name="b" * 12, addresses=(str(TWO),), is_ready=False),
        NameRow(name="sick", addresses=(str(TWO),), is_ready=False),
        NameRow(name="web", addresses=(str(ONE),), is_ready=True),
    ]


def test_the_predefined_network_has_no_names():
    assert not build_zone(network(name="bridge", predefined=True), [member()]).names


def test_a_name_that_no_label_holds_is_called_by_its_short_id():
    assert zone(member(name="x" * 64)).reverse == {ONE: "a" * 12}
    assert zone(member(name="x" * 63)).reverse == {ONE: "x" * 63}


@pytest.mark.parametrize(
    ("sysctls", "found"),
    [
        ({}, [SIX]),
        ({"net.ipv6.conf.all.disable_ipv6": "1"}, []),
        ({"net.ipv6.conf.eth0.disable_ipv6": "1"}, []),
        ({"net.ipv6.conf.eth1.disable_ipv6": "1"}, [SIX]),
        ({"net.ipv6.conf.all.disable_ipv6": "0"}, [SIX]),
    ],
)
def test_a_family_that_is_off_has_no_addresses(sysctls, found):
    one = member(address="fd00::2/64", request={"sysctls": sysctls})
    assert addresses(zone(one).names)["web"] == found


def test_the_hostname_is_a_name_too():
    record = container(request={"hostname": "box"})
    assert endpoint_names(record, endpoint()) == ["web", "a" * 12, "box"]


def test_ports_by_number_by_what_everybody_calls_them_and_by_label():
    asked = [PortBinding(container_port=5432), PortBinding(container_port=99, protocol="udp")]
    record = container(
        expose=["80/tcp"],
        request={"ports": asked},
        labels={"nodeagent.port.Admin": "8000/tcp", "nodeagent.port.query": "99/udp", "other": "1"},
    )
    assert build_services(record) == {
        "_80._tcp": 80,
        "_http._tcp": 80,
        "_5432._tcp": 5432,
        "_postgresql._tcp": 5432,
        "_99._udp": 99,
        "_admin._tcp": 8000,
        "_query._udp": 99,
    }


@pytest.mark.parametrize(
    "text", ["", "x", "0/tcp", "65536/tcp", "80/icmp", "8\u0660/tcp", "1" * 99]
)
def test_a_label_that_is_no_port_names_none(text):
    assert build_services(container(labels={"nodeagent.port.web": text})) == {}


def test_who_may_ask_upstream():
    def upstreams(where, **fields):
        record = container(endpoints={each: endpoint(each) for each in where}, **fields)
        view = build_view(record, NETWORKS, ("9.9.9.9",))
        return view.upstreams, view.upstreams_in_sandbox

    assert upstreams([INNER, DEMO]) == (("9.9.9.9",), False)
    assert upstreams([INNER]) == ((), False)
    assert upstreams([DEMO], request={"dns": ["1.1.1.1"]}) == (("1.1.1.1",), True)
