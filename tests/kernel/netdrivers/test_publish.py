"""Host ports: held against everybody, all or none; who else has one is named."""

import os
import resource
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio

from netdrivers.errors import Conflict, Exhausted, Invalid
from netdrivers.keep import Keep, port_name
from netdrivers.publish import HostPorts
from tests.fakes.world import parse_port

PICK = {4: ip_address("10.0.0.2"), 6: ip_address("fd00::2")}


@pytest.fixture
def ports(host):
    made = at_home(host)
    yield made
    made.close()


def at_home(host, keep=None) -> HostPorts:
    return HostPorts(lambda: host.inside(host.home), keep)


def port(text: str):
    return parse_port(text, PICK)


def has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
    except OSError:
        return False
    return True


@contextmanager
def foreign_server(host, number: int):
    """Another process that listens on a port of the host; its pid."""
    serve = f"import socket, sys; s = socket.create_server(('127.0.0.1', {number}))"
    argv = host.command(sys.executable, "-c", f"{serve}; print(flush=True); sys.stdin.read()")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as theirs:
        assert theirs.stdout.readline()
        try:
            yield theirs.pid
        finally:
            theirs.stdin.close()


async def test_a_conflict_names_the_port_and_the_process(ports, host):
    with host.listen(host.home, 8080), pytest.raises(Conflict) as caught:
        await ports.hold([port("tcp:0.0.0.0:8080:80")])
    assert caught.value.doing == "address already in use"
    command = caught.value.fields.pop("command")
    assert "pytest" in command
    assert caught.value.fields == {
        "host_ip": ip_address("0.0.0.0"),
        "host_port": 8080,
        "protocol": "tcp",
        "pid": os.getpid(),
    }


async def test_the_foreign_process_is_named_and_not_we_for_our_other_ports(ports, host):
    await ports.hold([port(f"tcp:0.0.0.0:{n}:80") for n in (81, 82, 83)])
    with foreign_server(host, 8080) as pid, pytest.raises(Conflict) as caught:
        await ports.hold([port("tcp:0.0.0.0:8080:80")])
    assert caught.value.fields["pid"] == pid


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"),
        ("::1", "::"), ("::", "::1"),
    ],
)  # fmt: skip
async def test_the_holder_of_an_overlapping_address_is_named(ports, host, kind, theirs, wanted):
    with host.listen(host.home, 8080, theirs, kind), pytest.raises(Conflict) as caught:
        await ports.hold([port(f"{kind}:{wanted}:8080:80")])
    assert caught.value.fields["pid"] == os.getpid()


@pytest.mark.parametrize("wanted", ["0.0.0.0", "127.0.0.1", "::"])
async def test_a_listener_on_all_of_ipv6_may_have_ipv4_too(ports, host, wanted):
    both = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
    with both, pytest.raises(Conflict) as caught:
        await ports.hold([port(f"tcp:{wanted}:8080:80")])
    assert caught.value.fields["pid"] == os.getpid()


async def test_other_addresses_and_protocols_are_no_conflict(ports, host):
    with host.listen(host.home, 80, "127.0.0.1"), host.listen(host.home, 80, "::"):
        wanted = ("tcp:127.0.0.2:80:80", "udp:127.0.0.1:80:80", "tcp:198.51.100.1:80:80")
        await ports.hold([port(each) for each in wanted])


async def test_a_socket_that_is_bound_and_does_not_listen_has_its_owner_too(ports, host):
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 8):
        pytest.skip("Linux tells of bound sockets that do not listen since 6.8")
    other = at_home(host)  # as another agent in this namespace would
    with closing(other):
        await other.hold([port("tcp:0.0.0.0:80:80")])
        with pytest.raises(Conflict) as caught:
            await ports.hold([port("tcp:127.0.0.1:80:80")])
    assert caught.value.fields["pid"] == os.getpid()


async def test_all_or_none(ports, host):
    with host.listen(host.home, 81), pytest.raises(Conflict):
        await ports.hold([port("tcp:0.0.0.0:80:80"), port("tcp:0.0.0.0:81:80")])
    assert host.is_free(host.home, 80)


async def test_held_twice_is_a_conflict_also_on_another_address(ports):
    held = ("tcp:127.0.0.1:80:80", "tcp:127.0.0.2:80:80", "tcp::::80:80")
    await ports.hold([port(each) for each in held])
    for text, by in (
        ("tcp:127.0.0.1:80:80", {"127.0.0.1"}),
        ("tcp:0.0.0.0:80:80", {"127.0.0.1", "127.0.0.2"}),
        ("tcp:::1:80:80", {"::"}),
    ):
        with pytest.raises(Conflict) as caught:
            await ports.hold([port(text)])
        assert str(caught.value.fields["held_ip"]) in by


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_released_ports_are_free_at_once(ports, host, protocol):
    one = port(f"{protocol}:0.0.0.0:80:80")
    for _ in range(2):
        await ports.hold([one])
        ports.release([one, one])
    assert host.is_free(host.home, 80)


@pytest.mark.parametrize("others", [(), ("tcp:0.0.0.0:81:80", "tcp:127.0.0.1:82:80")])
async def test_what_a_server_left_behind_is_in_nobodys_way(ports, host, others):
    """Connections in TIME_WAIT after the end of a server that used SO_REUSEADDR, as all do."""
    with (
        host.listen(host.home, 8080) as server,
        host.inside(host.home),
        socket.create_connection(("127.0.0.1", 8080)) as client,
    ):
        server.accept()[0].close()
        assert client.recv(1) == b""
    assert ":1F90 " in host.sh("cat /proc/thread-self/net/tcp"), "nothing is left: no test"
    await ports.hold([port(each) for each in others])
    wanted = port("tcp:0.0.0.0:8080:80")
    await ports.hold([wanted])
    assert not host.is_free(host.home, 8080), "somebody else may listen"
    ports.release([wanted])
    await ports.hold([wanted])


async def test_a_connection_whose_server_ended_is_named_if_it_keeps_the_port(ports, host):
    with host.inside(host.home):
        server = socket.socket()
        server.bind(("127.0.0.1", 8080))  # without SO_REUSEADDR
        server.listen()
        with socket.create_connection(("127.0.0.1", 8080)), server.accept()[0]:
            server.close()
            with pytest.raises(Conflict) as caught:
                await ports.hold([port("tcp:127.0.0.1:8080:80")])
    assert caught.value.fields["pid"] == os.getpid()


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
async def test_picked_ports_differ_and_are_held(ports, protocol, address):
    ip = ip_address(address)
    picked = {ports.pick(protocol, ip) for _ in range(20)}
    assert len(picked) == 20
    again = port(f"{protocol}:{address}:{picked.pop()}:80")
    with pytest.raises(Conflict):
        await ports.hold([again])
    ports.release([again])
    await ports.hold([again])


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
async def test_picked_ports_are_of_the_hosts_range_but_for_the_reserved(ports, host, protocol):
    host.sh("sysctl -qw net.ipv4.ip_local_port_range='40000 40009'")
    host.sh("sysctl -qw net.ipv4.ip_local_reserved_ports=40003-40008")
    picked = {ports.pick(protocol, ip_address("0.0.0.0")) for _ in range(4)}
    assert picked == {40000, 40001, 40002, 40009}
    with pytest.raises(Exhausted, match="no port left"):
        ports.pick(protocol, ip_address("0.0.0.0"))


async def test_sctp_is_held_where_the_kernel_can(ports):
    if not has_sctp():
        pytest.skip("this kernel has no SCTP sockets")
    one = port("sctp:0.0.0.0:80:80")
    await ports.hold([one])
    assert ports.is_bound(one)


async def test_sctp_without_sockets_is_kept_between_ours(ports):
    if has_sctp():
        pytest.skip("this kernel has SCTP sockets")
    one = port("sctp:0.0.0.0:80:80")
    await ports.hold([one])
    assert not ports.is_bound(one)
    with pytest.raises(Conflict):
        await ports.hold([port("sctp:127.0.0.1:80:80")])
    ports.release([one])
    await ports.hold([port("sctp:127.0.0.1:80:80")])


async def test_bad_protocol_and_foreign_address(ports):
    with pytest.raises(Invalid, match="protocol"):
        await ports.hold([replace(port("tcp:0.0.0.0:80:80"), protocol="icmp")])
    with pytest.raises(Invalid, match="address"):
        await ports.hold([port("tcp:192.0.2.77:80:80")])
    with pytest.raises(Invalid, match="link-local"):
        await ports.hold([port("tcp:fe80::1:80:80")])


async def test_the_end_of_the_descriptors_is_told_and_nothing_is_kept(ports, host):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))
    try:
        with pytest.raises(Exhausted, match="LimitNOFILE") as caught:
            await ports.hold([port(f"tcp:127.0.0.1:{each}:80") for each in range(2000, 2500)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.fields["limit"] == 400
    assert host.is_free(host.home, 2000)


async def test_no_child_has_the_sockets(ports):
    await ports.hold([port("tcp:127.0.0.1:80:80")])
    shown = await trio.run_process(
        ["ls", "-l", "/proc/self/fd"], capture_stdout=True, close_fds=False
    )
    assert b"socket:" not in shown.stdout


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
async def test_a_port_goes_to_the_next_agent_and_is_free_at_no_instant(host, protocol, address):
    keep = Keep()
    first = at_home(host, keep)
    one = port(f"{protocol}:{address}:80:80")
    await first.hold([one])
    second = at_home(host, Keep(keep.copies()))
    await second.hold([one])
    first.close()
    with pytest.raises(Conflict):
        await at_home(host).hold([one])
    with pytest.raises(Conflict):
        await second.hold([one])
    second.release([one])
    assert host.is_free(host.home, 80)


async def test_a_handed_socket_of_another_port_or_namespace_is_not_believed(host):
    here, there = port("tcp:127.0.0.1:80:80"), port("tcp:127.0.0.1:81:80")
    keep = Keep()
    first = at_home(host, keep)
    await first.hold([there])
    wrong = keep.copies()
    second = at_home(host, Keep({port_name("tcp", here.host_ip, 80): wrong.popitem()[1]}))
    await second.hold([here])
    first.close()
    assert host.is_free(host.home, 81)
    assert not host.is_free(host.home, 80)
    second.close()
