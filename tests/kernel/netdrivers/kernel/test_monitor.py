"""Changes in the agent's namespace and in sandboxes of ours are heard, those elsewhere are not.

Covers netdrivers/kernel/departures.py netdrivers/kernel/nsnumber.py
"""

import socket

import pytest
import trio
import trio.testing

from netdrivers.kernel.access import Access
from netdrivers.kernel.departures import Departures
from netdrivers.kernel.monitor import HOME, Monitor

HEARD_S = 2.0
SILENT_S = 0.2

CHANGES = {
    "link made": "ip link add mon0 type bridge",
    "link changed": "ip link set up0 mtu 1400",
    "link gone": "ip link del up0",
    "address": "ip address add 203.0.113.1/24 dev up0",
    "v6 address": "ip address add 2001:db8:5::1/64 dev up0",
    "route": "ip route add 203.0.113.0/24 dev up0",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=1",
    "v6 forwarding": "sysctl -qw net.ipv6.conf.all.forwarding=1",
    "rp_filter": "sysctl -qw net.ipv4.conf.up0.rp_filter=1",
    "nft": "nft add table inet mon",
}
INSIDE = {
    "link made": "ip link add mon0 type bridge",
    "link changed": "ip link set lo mtu 1400",
    "address": "ip address add 203.0.113.1/24 dev lo",
    "route": "ip route add 203.0.113.0/24 dev lo",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=1",
    "nft": "nft add table inet mon",
}


@pytest.fixture
def access(host, run_dir):
    (run_dir / "netns").mkdir()
    made = Access(run_dir, agent_id="test")
    yield made
    made.close()


@pytest.fixture
def sandbox(host, access):
    """A sandbox without any link to here, so that the kernel numbers it for nobody's sake."""
    access.namespaces.create(access.pin("a"))
    way = access.way("a")
    with host.inside(way.fd):
        host.sh("ip link set lo up")
    return way


@pytest.fixture
def monitor(access):
    made = Monitor(access.is_ours)
    yield made
    made.close()


async def hears(monitor, within_s):
    with trio.move_on_after(within_s) as scope:
        await monitor.wait()
    return not scope.cancelled_caught


async def silence(monitor):
    while await hears(monitor, SILENT_S):  # duplicate address detection speaks late
        pass
    monitor.take()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_is_heard_once(host, monitor, change):
    await silence(monitor)
    host.sh(change)
    assert await hears(monitor, HEARD_S)
    await silence(monitor)
    assert not await hears(monitor, SILENT_S)


@pytest.mark.parametrize("change", INSIDE.values(), ids=INSIDE.keys())
async def test_a_change_in_a_sandbox_is_heard_and_told_apart(host, sandbox, monitor, change):
    await silence(monitor)
    with host.inside(sandbox.fd):
        host.sh(change)
    assert await hears(monitor, HEARD_S)
    assert monitor.take() == {sandbox.number}
    host.sh("ip link set up0 mtu 1400")
    assert await hears(monitor, HEARD_S)
    assert monitor.take() == {HOME}


async def test_nothing_is_known_of_the_time_before(monitor):
    assert monitor.take() is None
    assert monitor.take() == set()


async def test_a_burst_beyond_the_buffer_may_be_anybody(host, monitor):
    monitor.take()
    for sock in monitor._sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host.sh("for n in $(seq 20); do ip link set up0 mtu $((1300 + n)); done")
    assert await hears(monitor, HEARD_S)
    assert monitor.take() is None


async def test_who_takes_does_not_keep_the_waiter_waiting(host, monitor, nursery):
    await silence(monitor)
    heard = trio.Event()

    async def wait():
        await monitor.wait()
        heard.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    host.sh("ip link set up0 mtu 1400")
    assert monitor.take() == {HOME}
    with trio.fail_after(HEARD_S):
        await heard.wait()


async def test_another_namespace_is_not_ours(host, sandbox, monitor):
    await silence(monitor)
    with host.inside(host.outside):
        host.sh("ip link add far0 type bridge; nft add table inet far")
    assert not await hears(monitor, SILENT_S)


async def test_a_departure_is_told_when_all_have_gone(host):
    host.sh("for n in 1 2 3; do ip link add d$n type bridge; done")
    departures = Departures()
    with trio.fail_after(HEARD_S):
        with trio.CancelScope() as told:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(departures.tell, {"d1", "d2"}, told)
                host.sh("ip link del d3; ip link del d1; ip link set d2 down")
                with trio.move_on_after(SILENT_S):
                    await trio.sleep_forever()
                assert not told.cancel_called
                host.sh("ip link del d2")
                await trio.sleep_forever()
    departures.close()
    assert told.cancelled_caught
