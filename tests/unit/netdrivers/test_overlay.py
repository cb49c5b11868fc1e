"""The overlay driver: what it says, and what it refuses."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netdrivers.contract.options import ENCRYPTED, MULTICAST, is_on
from netdrivers.contract.specs import OverlaySpec, RemoteEndpoint
from netdrivers.errors import Invalid
from netdrivers.overlay import OverlayDriver
from netdrivers.plan.objects import Bridge
from netdrivers.plan.tunnels import FdbEntry, Neighbour, Vxlan
from tests.fakes.world import World

REMOTE = RemoteEndpoint(
    mac="02:42:0A:05:00:03",
    addresses=(ip_address("10.5.0.3"), ip_address("fd00:5::3")),
    vtep=ip_address("fd12::2"),
)
SPEC = OverlaySpec(vni=4097, vtep=ip_address("fd12::1"), remotes=(REMOTE,))
driver = OverlayDriver()


def network(**fields):
    return World().network("a", "10.5.0.0/24", "fd00:5::/64", driver="overlay", mtu_bytes=1350,
                           overlay=SPEC, **fields)  # fmt: skip


def test_the_gateway_is_the_same_on_every_host():
    here = [obj for obj in driver.network(network()) if isinstance(obj, Bridge)]
    there = replace(network(), overlay=replace(SPEC, vtep=ip_address("fd12::2"), remotes=()))
    assert here == [obj for obj in driver.network(there) if isinstance(obj, Bridge)]


def test_only_what_is_told_has_an_entry():
    objects = list(driver.network(network()))
    assert [obj for obj in objects if isinstance(obj, FdbEntry)] == [
        FdbEntry(link="vx-aaaaaaaaaaaa", mac="02:42:0a:05:00:03", vtep=REMOTE.vtep, owner="a" * 64)
    ]
    assert {str(obj.ip) for obj in objects if isinstance(obj, Neighbour)} == {
        "10.5.0.3",
        "fd00:5::3",
    }


def test_without_a_cluster_there_is_no_tunnel():
    net = replace(network(), overlay=None)
    assert not [obj for obj in driver.network(net) if isinstance(obj, Vxlan)]


@pytest.mark.parametrize("option", [ENCRYPTED, MULTICAST])
def test_options(option):
    for good in ("", "true", "false", "1"):
        driver.check(network(options={option: good}))
    with pytest.raises(Invalid, match="true or false"):
        driver.check(network(options={option: "maybe"}))
    with pytest.raises(Invalid, match="unknown option"):
        driver.check(network(options={"encypted": "true"}))


@pytest.mark.parametrize(
    ("text", "on"), [(None, True), ("", True), ("true", True), ("false", False), ("0", False)]
)
def test_an_option_without_a_value_is_on(text, on):
    assert is_on({} if text is None else {ENCRYPTED: text}, ENCRYPTED, default=True) is on
