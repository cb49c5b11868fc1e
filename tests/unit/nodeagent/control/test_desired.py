"""From records to what the kernel should hold."""

from ipaddress import ip_address

import msgspec

from nodeagent.control.desired import (
    build_desired,
    endpoints_in_order,
    has_sandbox,
    network_spec,
    ports_text,
)
from nodeagent.model.container import PortBinding
from nodeagent.model.network import SubnetRequest
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


def test_ports_and_with_them_the_route_are_on_a_network_that_publishes():
    wire = network(INNER, name="wire", subnet="192.0.2.0/24", gateway="192.0.2.1", on_wire=True)
    networks = {DEMO: network(), INNER: wire}
    specs = build_desired(networks, [web()]).endpoints.values()
    led = [each.network_id for each in specs if each.default_gateway]
    assert led == [DEMO] == [each.network_id for each in specs if each.ports]
    quiet = build_desired(networks, [msgspec.structs.replace(web(), ports=[])]).endpoints.values()
    assert [each.network_id for each in quiet if each.default_gateway] == [INNER]
    (alone,) = build_desired({INNER: wire}, [web()]).endpoints.values()
    assert not alone.ports


def test_the_auxiliary_address_host_is_the_hosts_own():
    subnet = SubnetRequest(
        subnet="192.0.2.0/24", gateway="192.0.2.1", aux_addresses={"host": "192.0.2.250"}
    )
    assert network_spec(network(subnets=[subnet])).subnets[0].host == ip_address("192.0.2.250")
    assert network_spec(network()).subnets[0].host is None


def test_a_network_being_removed_is_not_desired():
    assert not build_desired({DEMO: network(phase="removing")}, []).networks


def test_only_own_sandboxes_are_desired():
    host = container(network_mode="host")
    joined = container("b" * 64, network_mode="container:" + "a" * 64)
    assert not has_sandbox(host)
    assert not build_desired(NETWORKS, [host, joined]).sandboxes


def test_ports_as_text():
    assert ports_text([PORT]) == ["127.0.0.1:8080->80/tcp"]
    assert ports_text([V6_PORT]) == ["[::1]:8080->80/tcp"]


def test_ports_that_go_on_in_step_are_one_text():
    def port(outer, inner, ip="127.0.0.1"):
        return PortBinding(container_port=inner, host_ip=ip, host_port=outer)

    many = [port(8000 + n, 80 + n) for n in range(100)]
    others = [port(9000, 80), port(9001, 80), port(8100, 180, "127.0.0.2")]
    assert ports_text([*many, *others]) == [
        "127.0.0.1:8000-8099->80-179/tcp", "127.0.0.1:9000->80/tcp", "127.0.0.1:9001->80/tcp",
        "127.0.0.2:8100->180/tcp",
    ]  # fmt: skip
