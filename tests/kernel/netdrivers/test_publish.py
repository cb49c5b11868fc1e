"""Host ports: held against everybody, all or none."""

from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_address

import pytest

from netdrivers.errors import Conflict, Invalid
from netdrivers.keep import Keep, port_name
from netdrivers.publish import HostPorts
from tests.fakes.world import parse_port

PICK = {4: ip_address("10.0.0.2"), 6: ip_address("fd00::2")}


@pytest.fixture
def ports(host):
    made = HostPorts(nullcontext)
    yield made
    made.close()


def port(text: str):
    return parse_port(text, PICK)


def test_a_conflict_names_the_port(ports, host):
    with host.listen(host.home, 8080), pytest.raises(Conflict) as caught:
        ports.hold([port("tcp:0.0.0.0:8080:80")])
    assert caught.value.doing == "address already in use"
    assert caught.value.fields == {
        "host_ip": ip_address("0.0.0.0"),
        "host_port": 8080,
        "protocol": "tcp",
    }


def test_all_or_none(ports, host):
    with host.listen(host.home, 81), pytest.raises(Conflict):
        ports.hold([port("tcp:0.0.0.0:80:80"), port("tcp:0.0.0.0:81:80")])
    assert host.is_free(host.home, 80)


def test_held_twice_is_a_conflict_also_on_another_address(ports):
    ports.hold([port("tcp:127.0.0.1:80:80"), port("tcp:127.0.0.2:80:80"), port("tcp::::80:80")])
    for text in ("tcp:127.0.0.1:80:80", "tcp:0.0.0.0:80:80", "tcp:::1:80:80"):
        with pytest.raises(Conflict):
            ports.hold([port(text)])


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_released_ports_are_free_at_once(ports, host, protocol):
    one = port(f"{protocol}:0.0.0.0:80:80")
    for _ in range(2):
        ports.hold([one])
        ports.release([one, one])
    assert host.is_free(host.home, 80)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_picked_ports_differ_and_are_held(ports, protocol, address):
    ip = ip_address(address)
    picked = {ports.pick(protocol, ip) for _ in range(20)}
    assert len(picked) == 20
    again = port(f"{protocol}:{address}:{picked.pop()}:80")
    with pytest.raises(Conflict):
        ports.hold([again])
    ports.release([again])
    ports.hold([again])


def test_bad_protocol_and_foreign_address(ports):
    with pytest.raises(Invalid, match="protocol"):
        ports.hold([replace(port("tcp:0.0.0.0:80:80"), protocol="icmp")])
    with pytest.raises(Invalid, match="address"):
        ports.hold([port("tcp:192.0.2.77:80:80")])


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_a_port_goes_to_the_next_agent_and_is_free_at_no_instant(host, protocol, address):
    keep = Keep()
    first = HostPorts(nullcontext, keep)
    one = port(f"{protocol}:{address}:80:80")
    first.hold([one])
    second = HostPorts(nullcontext, Keep(keep.copies()))
    second.hold([one])
    first.close()
    with pytest.raises(Conflict):
        HostPorts(nullcontext).hold([one])
    with pytest.raises(Conflict):
        second.hold([one])
    second.release([one])
    assert host.is_free(host.home, 80)


def test_a_handed_socket_of_another_port_or_namespace_is_not_believed(host):
    here, there = port("tcp:127.0.0.1:80:80"), port("tcp:127.0.0.1:81:80")
    keep = Keep()
    first = HostPorts(nullcontext, keep)
    first.hold([there])
    wrong = keep.copies()
    second = HostPorts(nullcontext, Keep({port_name("tcp", here.host_ip, 80): wrong.popitem()[1]}))
    second.hold([here])
    first.close()
    assert host.is_free(host.home, 81)
    assert not host.is_free(host.home, 80)
    second.close()
