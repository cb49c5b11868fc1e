"""Each kind of leak is found, and a healthy host has none."""

from ipaddress import ip_address

import pytest

from netdrivers.plan.objects import Bridge, Element, Sandbox, Veth
from netdrivers.plan.ops import Op
from nodeagent.control.addresses import Lease
from nodeagent.control.audit import Auditor, Holdings, find_leaks
from nodeagent.model.container import BoundPort
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network, op_of

NET, WEB, GONE = "n" * 64, "a" * 64, "d" * 64


def joined(address="172.20.0.2/24", id_=WEB, name="web", net=NET):
    return container(
        id_, name=name, network_mode=net, endpoints={net: endpoint(net, address=address)}
    )


def find(*, ops=(), leases=(), ports=None, names=(), live=(WEB,), records=None):
    held = Holdings(unwanted=ops, leases=leases, ports=ports or {}, names=names, live=live)
    records = [joined()] if records is None else records
    return find_leaks(held, {each.id: each for each in records}, {NET: network()})


def test_a_healthy_host_has_none():
    assert find(ops=[op_of(NET)], ports={WEB: 3, GONE: 0}, names=[WEB]) == []


@pytest.mark.parametrize(
    ("obj", "kind", "why"),
    [
        (Sandbox(id=GONE), "namespace", "no such owner"),
        (Bridge(name="br-1", owner=GONE, mac=""), "link", "no such owner"),
        (Bridge(name="br-1", owner=NET, mac=""), "link", "does not want it"),
        (Element(set="nat", match=("br-1",), owner=""), "element", "(none)"),
        (op_of(GONE).obj, "address", "no such owner"),
        (
            Veth(name="ve1", owner="?", endpoint="e", bridge="", interface="", mac=""),
            "link",
            "no such owner: ?",
        ),
    ],
)
def test_what_the_kernel_has_and_nobody_wants(obj, kind, why):
    (leak,) = find(ops=[Op(verb="delete", obj=obj)])
    assert leak.kind == kind
    assert why in leak.why


def test_a_lease_without_a_container():
    lease = Lease(network_id=NET, address=ip_address("172.20.0.9"), owner=GONE)
    (leak,) = find(leases=[lease])
    assert (leak.kind, leak.what) == ("lease", "172.20.0.9 on demo")


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([joined(net="m" * 64)], "no network mmmmmmmmmmmm"),
        ([joined("172.21.0.2/24")], "in no subnet of demo"),
        ([joined(), joined(id_=GONE, name="db")], "web has it, too"),
    ],
)
def test_addresses_of_records_that_cannot_be(records, why):
    (leak,) = find(records=records)
    assert (leak.kind, leak.why) == ("lease", why)


def test_ports_and_names_of_who_is_down():
    port, names = find(ports={GONE: 2}, names=[GONE])
    assert (port.kind, port.what, names.kind) == ("port", "2 held ports", "names")


@pytest.fixture
async def control(tmp_path, nursery):
    made = Control(tmp_path, nursery)
    record = container(
        WEB,
        network_mode=NET,
        endpoints={NET: endpoint()},
        ports=[BoundPort(container_port=80, host_ip="127.0.0.1", host_port=80)],
    )
    await made.inventory.put(network(), record)
    await made.sandboxes.ports.hold_again(record)
    await made.sandboxes.open(record)
    made.auditor = Auditor(made.parts, made.sandboxes, made.addresses, made.repairer)
    return made


async def test_nothing_is_found_where_nothing_is_wrong(control, autojump_clock):
    found = await control.auditor.audit()
    assert (found.leaks, found.others) == ([], {"east": 3})
    assert control.auditor.count() == {}


async def test_planted_leaks_are_found_and_counted_when_they_stay(control, autojump_clock):
    control.engine.drift = (Op(verb="delete", obj=Sandbox(id=GONE)),)
    control.names.opened[GONE] = 5353
    control.sandboxes._live.discard(WEB)
    kinds = [each.kind for each in (await control.auditor.audit()).leaks]
    assert kinds == ["namespace", "port", "names", "names"]
    assert control.auditor.count() == {}, "it may be of a container that starts"
    assert control.auditor.count() == {"port": 1, "names": 2}


async def test_what_the_loop_could_not_mend_is_counted(control):
    control.engine.drift = (Op(verb="delete", obj=Sandbox(id=GONE)),)
    control.engine.mended = lambda _scope: ()
    await control.repairer.look(fresh=False)
    control.auditor.count()
    assert control.auditor.count() == {"namespace": 1}
    control.engine.drift = ()
    await control.repairer.look(fresh=False)
    assert control.auditor.count() == {}
