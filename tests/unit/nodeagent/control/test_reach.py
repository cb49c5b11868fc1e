"""Who can reach a published port."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from nodeagent.control.desired import GATEWAY_MODE
from nodeagent.control.reach import port_rows, say_closed, say_reach
from nodeagent.model.container import BoundPort
from nodeagent.model.containerrequest import PortBinding
from tests.fakes.records import container, endpoint, network

HAVE = [ip_address(text) for text in ("127.0.0.1", "192.168.1.5", "203.0.113.9", "fd00::5")]
LINKS = [ip_network(text) for text in ("192.168.0.0/16", "192.168.1.0/24", "203.0.113.0/24")]
NETWORKS = {"n" * 64: network(), "m" * 64: network("m" * 64, internal=True)}


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("127.0.0.1", "this host only"),
        ("127.9.9.9", "this host only"),
        ("::1", "this host only"),
        ("0.0.0.0", "anyone who can route here"),
        ("::", "anyone who can route here"),
        ("203.0.113.9", "anyone who can route here"),
        ("192.168.1.5", "neighbours on 192.168.1.0/24"),
        ("fd00::5", "who has a route to fd00::5"),
        ("192.168.1.6", "nobody: this host does not have 192.168.1.6 now"),
    ],
)
def test_who(address, who):
    assert say_reach(ip_address(address), HAVE, LINKS) == who


def test_a_public_address_is_for_everybody():
    public = ip_address("8.8.8.8")
    assert say_reach(public, [public], [ip_network("8.8.8.0/24")]) == "anyone who can route here"


def test_internal_networks_lead_nowhere_until_another_one_is_joined():
    inner = endpoint("m" * 64)
    assert "internal" in say_closed(container(endpoints={"m" * 64: inner}), NETWORKS, 4)
    both = container(endpoints={"m" * 64: inner, "n" * 64: endpoint(interface="eth1")})
    assert say_closed(both, NETWORKS, 4) == ""
    assert "IPv6" in say_closed(both, NETWORKS, 6)
    assert "no network" in say_closed(container(), NETWORKS, 4)
    wire = {"n" * 64: network(on_wire=True)}
    assert "publishes no ports" in say_closed(container(endpoints={"n" * 64: endpoint()}), wire, 4)


def test_ports_of_a_routed_network_are_none_of_the_hosts():
    routed = {"n" * 64: network(options={f"{GATEWAY_MODE}4": "routed"})}
    said = say_closed(container(endpoints={"n" * 64: endpoint()}), routed, 4)
    assert said == "nobody: reached at 172.20.0.2 itself"


def test_a_routed_network_has_rows_of_the_containers_own_address():
    networks = {"n" * 64: network(options={f"{GATEWAY_MODE}4": "routed"})}
    asked = {"ports": [PortBinding(container_port=80), PortBinding(container_port=80)]}
    up = container(endpoints={"n" * 64: endpoint()}, request=asked, phase="running")
    up = msgspec.structs.replace(up, network_mode="demo")
    (row,) = port_rows(up, networks, HAVE, LINKS, lambda _port: True)
    assert (row.host_ip, row.host_port, row.container_port, row.held) == (
        "172.20.0.2", 80, 80, False,
    )  # fmt: skip
    assert row.reach == "who has a route to 172.20.0.2, the container's own"
    down = msgspec.structs.replace(up, phase="exited")
    assert not list(port_rows(down, networks, HAVE, LINKS, lambda _port: True))


def test_rows():
    ports = [BoundPort(container_port=80, host_ip="127.0.0.1", host_port=8080)]
    record = container(endpoints={"n" * 64: endpoint()}, ports=ports)
    (row,) = port_rows(record, NETWORKS, HAVE, LINKS, lambda _port: False)
    assert (row.container, row.host_port, row.reach, row.held) == (
        "web", 8080, "this host only", False,
    )  # fmt: skip
