"""Networks in Docker's spelling, and what the kernel has of them."""

from ipaddress import ip_interface

import msgspec
import pytest

from netdrivers.plan.objects import Address, Bridge, Veth
from netdrivers.plan.ops import Op
from nodeagent.control.names import NameRow
from nodeagent.control.netviews import Look, Member, network_row, network_view, object_views
from tests.fakes.records import container, endpoint, network

ID = "n" * 64
BRIDGE = Bridge(name="br-n", owner=ID, mac="02:42:00:00:00:01")
GATEWAY = Address(ns="", link="br-n", ip=ip_interface("172.20.0.1/24"), owner=ID)
VETH = Veth(
    name="ve1",
    owner="a" * 64,
    endpoint="e",
    bridge="br-n",
    interface="eth0",
    mac="02:42:00:00:00:02",
)
COUNTERS = {
    "": {"br-n": {"rx_bytes": 7}, "ve1": {"rx_bytes": 5}},
    "a" * 64: {"eth0": {"rx_bytes": 9}},
}


def look(ops=()):
    return Look(objects=[GATEWAY, VETH, BRIDGE], ops=ops, counters=COUNTERS)


def test_a_network_with_one_member():
    record = container(endpoints={ID: endpoint()})
    member = Member(
        record=record, names=["web", "www"], is_ready=False, ports=["1.2.3.4:8->80/tcp"]
    )
    names = [NameRow(name="www", addresses=("172.20.0.2",), is_ready=False)]
    shown = msgspec.to_builtins(network_view(network(), [member], [(2, 252)], look(), names))
    assert shown["IPAM"]["Config"][0]["Subnet"] == "172.20.0.0/24"
    assert shown["IPAM"]["Config"][0]["AddressesFree"] == 252
    inside = shown["Containers"]["a" * 64]
    assert inside["IPv4Address"] == "172.20.0.2/24"
    assert inside["Names"] == ["web", "www"]
    assert inside["Ready"] is False
    assert inside["Ports"] == ["1.2.3.4:8->80/tcp"]
    assert inside["Counters"] == {"rx_bytes": 9}
    assert shown["DNSRecords"] == [{"Name": "www", "Addresses": ["172.20.0.2"], "Ready": False}]


def test_kernel_objects_come_in_order_of_their_making_with_the_counters_of_links():
    found = object_views(look())
    assert [(each.object.split()[1], each.state) for each in found] == [
        ("br-n", "present"), ("ve1", "present"), ("172.20.0.1/24", "present"),
    ]  # fmt: skip
    assert [each.counters for each in found] == [{"rx_bytes": 7}, {"rx_bytes": 5}, {}]


@pytest.mark.parametrize(
    ("op", "state"),
    [
        (Op(verb="add", obj=BRIDGE), "missing"),
        (Op(verb="change", obj=BRIDGE, was=GATEWAY), "different"),
    ],
)
def test_what_a_repair_would_do_to_an_object_is_its_state(op, state):
    assert [each.state for each in object_views(look([op]))] == [state, "present", "present"]


def test_what_should_not_be_there_is_shown_too():
    extra = Address(ns="", link="br-n", ip=ip_interface("10.0.0.1/8"), owner=ID)
    found = object_views(look([Op(verb="delete", obj=extra)]))
    assert (found[-1].object, found[-1].state) == ("addr 10.0.0.1/8 dev br-n", "unwanted")


def test_a_kernel_that_could_not_be_asked_is_not_called_well():
    assert {each.state for each in object_views(look(ops=None))} == {"unknown"}


def test_a_row():
    row = network_row(network(labels={"a": "b", "c": ""}))
    assert (row.name, row.driver, row.labels) == ("demo", "bridge", "a=b,c=")
