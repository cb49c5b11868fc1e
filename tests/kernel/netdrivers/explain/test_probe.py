"""The probe's child process: what it sees, and that nothing of it stays."""

import secrets
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from netdrivers.explain.errand import Errand, Space, Tidings

ARGV = (sys.executable, "-m", "netdrivers.explain.probe")


@pytest.fixture
def errand(two):
    def make(target, port=0, protocol="tcp", *, to="", **fields):
        names = dict.fromkeys(["a", "", *([to] if to else [])])
        return Errand(
            spaces=[
                Space(
                    id=name,
                    path=str(two[name]) if name else "/proc/self/ns/net",
                    links=["eth0"] if name else [],
                    swallow=protocol == "udp" and name == to,
                )
                for name in names
            ],
            source="fd00:a::2" if ":" in target else "10.1.0.2",
            target=target,
            protocol=protocol,
            port=port,
            tag=61000 + 2 * secrets.randbelow(2000),
            **fields,
        )

    return make


@pytest.fixture
def run(host):
    def run(errand):
        return subprocess.run(
            host.command(*ARGV), input=msgspec.json.encode(errand), capture_output=True, timeout=60
        )

    return run


@pytest.fixture
def probe(run, errand):
    def probe(*args, **fields):
        done = run(errand(*args, **fields))
        assert done.returncode == 0, done.stderr.decode()
        return msgspec.json.decode(done.stdout, type=Tidings)

    return probe


def start(argv):
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def path(tidings, what="probe", *, big=False):
    return [
        (seen.space, seen.link, seen.outgoing)
        for seen in tidings.seen
        if seen.what == what and seen.big == big
    ]


@pytest.mark.parametrize("target", ["10.1.0.3", "fd00:a::3"])
async def test_a_connection_is_seen_at_every_link_both_ways(host, two, probe, target) -> None:
    veth_a, veth_b = "ve0000002a61000", "ve0000003a62000"
    with host.listen(two["b"], 80, "::" if ":" in target else ""):
        found = probe(target, 80, to="b", big_bytes=1500)
    for big in (False, True):
        assert sorted(path(found, big=big)) == sorted(
            [("a", "eth0", True), ("", veth_a, False), ("", veth_b, True), ("b", "eth0", False)]
        )
        assert sorted(path(found, "reply", big=big)) == sorted(
            [("b", "eth0", True), ("", veth_b, False), ("", veth_a, True), ("a", "eth0", False)]
        )
    assert {seen.text for seen in found.seen if seen.what == "reply"} == {"connection accepted"}
    assert not found.ruled
    assert not found.notes
    assert not found.refused


async def test_a_refusal_and_an_echo_are_told_apart(probe) -> None:
    assert {each.text for each in probe("10.1.0.3", 80).seen if each.what == "reply"} == {
        "connection refused"
    }
    echo = probe("10.1.0.3", 0, "icmp")
    assert {each.text for each in echo.seen if each.what == "reply"} == {"echo reply"}


async def test_a_datagram_does_not_get_to_the_program(host, two, probe) -> None:
    with host.listen(two["b"], 80, kind="udp") as sock:
        found = probe("10.1.0.3", 80, "udp", to="b")
        assert any(not seen.link and seen.space == "b" for seen in found.seen)
        with pytest.raises(TimeoutError):
            sock.recvfrom(10)


async def test_the_listener_hears_of_no_connection(host, two, probe) -> None:
    with host.listen(two["b"], 80) as sock:
        assert path(probe("10.1.0.3", 80, to="b"), "reply")
        with pytest.raises(TimeoutError):
            sock.accept()


async def test_an_error_on_the_way_says_who(host, probe) -> None:
    host.sh("ip link set up0 mtu 1300; ip link set dev br-aaaaaaaaaaaa mtu 1500")
    found = probe("198.51.100.2", 0, "icmp", big_bytes=1500)
    errors = {seen.text for seen in found.seen if seen.what == "error"}
    assert errors == {"fragmentation needed, says 10.1.0.1 (MTU 1300)"}


async def test_what_the_kernel_would_not_send(host, two, probe) -> None:
    with host.inside(two["a"]):
        host.sh("ip route del default")
    assert probe("198.51.100.2", 0, "icmp").refused == "Network is unreachable"


async def test_a_kill_leaves_nothing(host, two, errand) -> None:
    with start(host.command(*ARGV)) as child:
        child.stdin.write(msgspec.json.encode(errand("10.1.0.99", 80, to="b", wait_s=50.0)))
        child.stdin.close()
        while "nodeagent-trace" not in host.nft():
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5  # the kernel closes the sockets of the dead a moment later
    while "nodeagent-trace" in host.nft():
        assert time.monotonic() < until
    with host.inside(two["b"]):
        assert "nodeagent-trace" not in host.nft()


async def test_an_errand_that_cannot_be(run, errand) -> None:
    broken = msgspec.structs.replace(
        errand("10.1.0.3", 80), spaces=[Space(id="x", path="/no/such", links=[])]
    )
    done = run(broken)
    assert done.returncode == 1
    assert b"/no/such" in done.stderr
