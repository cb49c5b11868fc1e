"""From records to what the kernel should hold."""

from ipaddress import ip_address

import msgspec

from nodeagent.control.desired import (
    GATEWAY_MODE,
    build_desired,
    build_gateways,
    endpoint_specs,
    endpoints_in_order,
    has_sandbox,
    mapped_versions,
    network_spec,
    ports_text,
)
from nodeagent.model.containerrequest import EndpointRequest, PortBinding
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


UP4, UP6, ROUTED, WIRE = "u" * 64, "v" * 64, "r" * 64, "w" * 64
MANY = NETWORKS | {
    UP4: network(UP4, name="up4"),
    UP6: network(UP6, name="up6"),
    ROUTED: network(ROUTED, name="routed", options={f"{GATEWAY_MODE}6": "routed"}),
    WIRE: network(WIRE, name="wire", driver="macvlan", on_wire=True),
}


def joined(*asked, **fields):
    """A container on networks with (priority, network, addresses), in interface order."""
    endpoints = {
        network_id: endpoint(
            network_id,
            interface=f"eth{n}",
            addresses=list(addresses),
            gateways=[text.partition("/")[0] + "0" for text in addresses],
            requested=EndpointRequest(gateway_priority=priority),
        )
        for n, (priority, network_id, *addresses) in enumerate(asked)
    }
    return container(endpoints=endpoints, network_mode=asked[0][1], **fields)


def routes(record):
    """Which network has the default route of which family."""
    return {
        gateway.version: spec.network_id
        for spec in endpoint_specs(record, MANY)
        for gateway in spec.default_gateway
    }


def ports(record):
    """Where ports lead, by network and family."""
    return {
        (spec.network_id, port.container_ip.version)
        for spec in endpoint_specs(record, MANY)
        for port in spec.ports
    }


BOTH = ("10.0.0.2/24", "fd00::2/64")
FOUR, SIX = ("10.0.1.2/24",), ("fd00:1::2/64",)
BOUND = [PORT, PortBinding(container_port=80, host_ip="2001:db8::1", host_port=8080)]


def test_the_highest_priority_has_the_routes_of_its_families_only():
    assert routes(joined((0, DEMO, *BOTH), (0, UP4, *FOUR))) == {4: DEMO, 6: DEMO}
    assert routes(joined((0, DEMO, *BOTH), (10, UP4, *FOUR))) == {4: UP4, 6: DEMO}
    assert routes(joined((0, DEMO, *BOTH), (10, UP4, *FOUR), (5, UP6, *SIX))) == {4: UP4, 6: UP6}
    assert routes(joined((-1, DEMO, *BOTH), (0, UP6, *SIX))) == {4: DEMO, 6: UP6}


def test_an_internal_network_never_has_a_route_whatever_its_priority():
    record = joined((100, INNER, *BOTH), (0, DEMO, *BOTH), ports=BOUND)
    assert routes(record) == {4: DEMO, 6: DEMO}
    assert ports(record) == {(DEMO, 4), (DEMO, 6)}
    assert endpoints_in_order(record, MANY)[0].network_id == INNER


def test_ports_follow_the_route_of_their_family():
    assert ports(joined((0, DEMO, *BOTH), (10, UP4, *FOUR), ports=BOUND)) == {(UP4, 4), (DEMO, 6)}
    assert ports(joined((0, INNER, *BOTH), ports=BOUND)) == set()


def test_ports_go_by_the_next_network_where_the_route_is_on_the_wire():
    record = joined((10, WIRE, *FOUR), (0, DEMO, *BOTH), ports=BOUND)
    assert routes(record) == {4: WIRE, 6: DEMO}
    assert ports(record) == {(DEMO, 4), (DEMO, 6)}


def test_each_endpoint_knows_the_addresses_that_ports_lead_to():
    record = joined((0, DEMO, *BOTH), (10, UP4, *FOUR), ports=BOUND)
    served = (ip_address("10.0.1.2"), ip_address("fd00::2"))
    assert {spec.served for spec in endpoint_specs(record, MANY)} == {served}
    assert {spec.served for spec in endpoint_specs(joined((0, DEMO, *BOTH)), MANY)} == {()}


def test_a_routed_family_publishes_the_containers_own_ports():
    asked = [PortBinding(container_port=80, host_port=8080), PortBinding(container_port=80)]
    record = joined((0, ROUTED, *BOTH), ports=[PORT], request={"ports": asked})
    (spec,) = endpoint_specs(record, MANY)
    shown = [(str(p.host_ip), p.host_port, str(p.container_ip)) for p in spec.ports]
    assert shown == [("127.0.0.1", 8080, "10.0.0.2"), ("fd00::2", 80, "fd00::2")]
    assert spec.served == (ip_address("10.0.0.2"),)
    assert mapped_versions(record, MANY) == {4}


def test_families_that_host_ports_may_lead_to():
    assert mapped_versions(container(), MANY) == {4, 6}
    assert mapped_versions(joined((0, INNER, *FOUR)), MANY) == {4}
    assert mapped_versions(joined((0, ROUTED, *SIX)), MANY) == set()
    assert mapped_versions(joined((0, ROUTED, *BOTH), (1, UP6, *SIX)), MANY) == {4, 6}


def test_gateways_are_those_of_the_subnets_an_endpoint_is_in():
    subnets = [SubnetRequest(subnet=f"10.0.{n}.0/24", gateway=f"10.0.{n}.1") for n in range(3)] + [
        SubnetRequest(subnet="fd00::/64", gateway="fd00::1")
    ]
    wide = network(subnets=subnets)
    assert build_gateways(wide, ["10.0.1.2/24", "fd00::2/64"]) == ["10.0.1.1", "fd00::1"]
    isolated = network(subnets=subnets, options={f"{GATEWAY_MODE}4": "isolated"})
    assert build_gateways(isolated, ["10.0.1.2/24", "fd00::2/64"]) == ["fd00::1"]


def test_a_record_of_a_former_version_has_no_priority():
    old = msgspec.json.decode(b'{"ip": "10.0.0.2"}', type=EndpointRequest)
    assert old.gateway_priority == 0


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
