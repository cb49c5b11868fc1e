"""From records to what kernel and name server should hold."""

from ipaddress import ip_address

from nodeagent.control.desired import (
    build_desired,
    build_table,
    endpoint_names,
    endpoints_in_order,
    has_sandbox,
    port_text,
)
from nodeagent.model.container import PortBinding
from tests.fakes.records import container, endpoint, network

DEMO, INNER = "n" * 64, "i" * 64
NETWORKS = {
    DEMO: network(),
    INNER: network(INNER, name="inner", subnet="10.9.0.0/24", gateway="10.9.0.1", internal=True),
}
PORT = PortBinding(container_port=80, host_ip="127.0.0.1", host_port=8080)
V6_PORT = PortBinding(container_port=80, host_ip="::1", host_port=8080)


def web(**fields):
    endpoints = {
        INNER: endpoint(INNER, "10.9.0.2/24", "eth0", gateways=["10.9.0.1"]),
        DEMO: endpoint(DEMO, "172.20.0.2/24", "eth1", aliases=["www"]),
    }
    return container(endpoints=endpoints, network_mode=INNER, ports=[PORT, V6_PORT], **fields)


def test_the_route_is_on_the_first_network_that_leads_out():
    assert [each.network_id for each in endpoints_in_order(web(), NETWORKS)] == [DEMO, INNER]
    specs = build_desired(NETWORKS, [web()]).endpoints
    by_network = {spec.network_id: spec for spec in specs.values()}
    assert by_network[DEMO].default_gateway == (ip_address("172.20.0.1"),)
    assert by_network[INNER].default_gateway == ()


def test_ports_lead_to_the_address_of_their_family_on_that_network():
    specs = build_desired(NETWORKS, [web()]).endpoints.values()
    ports = [port for spec in specs for port in spec.ports]
    assert [(str(p.host_ip), str(p.container_ip)) for p in ports] == [("127.0.0.1", "172.20.0.2")]


def test_a_network_being_removed_is_not_desired():
    assert not build_desired({DEMO: network(phase="removing")}, []).networks


def test_only_own_sandboxes_are_desired():
    host = container(network_mode="host")
    joined = container("b" * 64, network_mode="container:" + "a" * 64)
    assert not has_sandbox(host)
    assert not build_desired(NETWORKS, [host, joined]).sandboxes


def test_names_live_within_their_network():
    zones = build_table(NETWORKS, [web()], ()).zones
    assert set(zones[DEMO].names) == {"web", "www", "a" * 12}
    assert set(zones[INNER].names) == {"web", "a" * 12}
    assert zones[DEMO].reverse == {ip_address("172.20.0.2"): "web"}


def test_two_containers_with_one_alias_are_both_answered():
    other = container(
        "b" * 64,
        name="Web2",
        endpoints={DEMO: endpoint(DEMO, "172.20.0.3/24", aliases=["www"])},
        network_mode=DEMO,
    )
    names = build_table(NETWORKS, [web(), other], ()).zones[DEMO].names
    assert names["www"] == (ip_address("172.20.0.2"), ip_address("172.20.0.3"))
    assert "web2" in names


def test_the_predefined_network_has_no_names():
    networks = {DEMO: network(name="bridge", predefined=True)}
    record = container(endpoints={DEMO: endpoint()}, network_mode=DEMO)
    assert not build_table(networks, [record], ()).zones[DEMO].names


def test_who_may_ask_upstream():
    def upstreams(record):
        view = build_table(NETWORKS, [record], ("9.9.9.9",)).views[record.id]
        return view.upstreams, view.upstreams_in_sandbox

    only_inner = container(endpoints={INNER: endpoint(INNER)}, network_mode=INNER)
    assert upstreams(web()) == (("9.9.9.9",), False)
    assert upstreams(only_inner) == ((), False)
    assert upstreams(web(request={"dns": ["1.1.1.1"]})) == (("1.1.1.1",), True)


def test_the_hostname_is_a_name_too():
    record = container(request={"hostname": "box"})
    assert endpoint_names(record, endpoint()) == ["web", "a" * 12, "box"]


def test_ports_as_text():
    assert port_text(PORT) == "127.0.0.1:8080->80/tcp"
    assert port_text(V6_PORT) == "[::1]:8080->80/tcp"
