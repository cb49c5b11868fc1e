"""The host's name servers, and containers that follow them."""

from dataclasses import replace

import pytest
import trio

from nodeagent.control.resolvers import LOOK_S, Resolvers
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network


@pytest.fixture
def control(tmp_path, nursery):
    (tmp_path / "resolv.conf").write_text("nameserver 9.9.9.9\nnameserver fe80::1%eth0\n")
    return Control(tmp_path, nursery, dns_upstreams=(), resolv_conf=tmp_path / "resolv.conf")


async def test_a_change_reaches_the_names(control, nursery, autojump_clock):
    record = container(network_mode="n" * 64, endpoints={"n" * 64: endpoint()})
    await control.inventory.put(network())
    await control.inventory.put(record)
    control.sandboxes.show(record.id)
    nursery.start_soon(control.sandboxes.follow_resolvers)
    assert control.names.table.views[record.id].upstreams == ("9.9.9.9", "fe80::1%eth0")
    table = control.names.table
    await trio.sleep(LOOK_S * 3)
    assert control.names.table is table
    # as most who write it do: beside it, then renamed over it
    new = control.parts.settings.resolv_conf.with_name("new")
    new.write_text("nameserver 1.1.1.1\n")
    new.rename(control.parts.settings.resolv_conf)
    await trio.sleep(10)
    assert control.names.table.views[record.id].upstreams == ("1.1.1.1",)
    control.parts.settings.resolv_conf.write_text("")
    await trio.sleep(10)
    assert control.names.table.views[record.id].upstreams == ("1.1.1.1",), "half written"


async def test_configured_ones_stay(control, autojump_clock):
    resolvers = Resolvers(replace(control.parts.settings, dns_upstreams=("192.0.2.1",)))
    control.parts.settings.resolv_conf.write_text("nameserver 1.1.1.1\n")
    with trio.move_on_after(30) as scope:
        await resolvers.wait_change()
    assert scope.cancelled_caught
    assert resolvers.upstreams == ("192.0.2.1",)
