"""Changes in the agent's namespace are heard, those elsewhere are not."""

import pytest
import trio

from netdrivers.kernel.monitor import Monitor

HEARD_S = 2.0
SILENT_S = 0.2

CHANGES = {
    "link made": "ip link add mon0 type bridge",
    "link changed": "ip link set up0 mtu 1400",
    "address": "ip address add 203.0.113.1/24 dev up0",
    "v6 address": "ip address add 2001:db8:5::1/64 dev up0",
    "route": "ip route add 203.0.113.0/24 dev up0",
    "nft": "nft add table inet mon",
}


@pytest.fixture
def monitor(host):
    made = Monitor()
    yield made
    made.close()


async def hears(monitor, within_s):
    with trio.move_on_after(within_s) as scope:
        await monitor.wait()
    return not scope.cancelled_caught


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_is_heard_once(host, monitor, change):
    while await hears(monitor, SILENT_S):  # what the set-up of the namespace still has to say
        pass
    host.sh(change)
    assert await hears(monitor, HEARD_S)
    while await hears(monitor, SILENT_S):  # duplicate address detection speaks later
        pass
    assert not await hears(monitor, SILENT_S)


async def test_a_burst_beyond_the_buffer_is_a_change_too(host, monitor):
    host.sh("for n in $(seq 400); do ip link set up0 mtu $((1300 + n)); done")
    assert await hears(monitor, HEARD_S)


async def test_another_namespace_is_not_ours(host, monitor):
    while await hears(monitor, SILENT_S):
        pass
    with host.inside(host.outside):
        host.sh("ip link add far0 type bridge; nft add table inet far")
    assert not await hears(monitor, SILENT_S)
