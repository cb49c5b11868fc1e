"""Host ports: held by one container, in families that lead to it; who is in the way is named."""

from ipaddress import ip_address

import msgspec
import pytest

from nodeagent.control.desired import wanted_ports
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import BoundPort, ContainerRecord
from nodeagent.model.containerrequest import PortBinding
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network

OTHER = "b" * 64
TWO = ("127.0.0.1", "127.0.0.2")


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


@pytest.fixture
def ports(control):
    return control.sandboxes.ports


def asking(*bindings, id_="a" * 64, **fields):
    return container(
        id_, request={"ports": list(bindings)}, network_mode="n" * 64,
        endpoints={"n" * 64: endpoint()}, **fields,
    )  # fmt: skip


def publishing(*host_ips, id_="a" * 64, host_port=80, **fields):
    asked = [
        PortBinding(container_port=80, host_ip=ip, host_port=host_port, **fields) for ip in host_ips
    ]
    return asking(*asked, id_=id_)


def set_default(control, *addresses):
    object.__setattr__(control.parts.settings, "publish_addresses", addresses)


def shown(bound):
    return [f"{each.host_ip}:{each.host_port}" for each in bound]


async def test_a_stale_record_does_not_let_go_what_another_one_holds(control, ports):
    await control.inventory.put(network())
    stale = publishing("127.0.0.1")
    stale = msgspec.structs.replace(stale, ports=await ports.bind(stale))
    await control.sandboxes.close(stale)
    await ports.bind(publishing("127.0.0.1", id_=OTHER))
    await control.sandboxes.close(stale)
    assert len(control.engine.held) == 1


async def test_all_or_none_are_held(control, ports):
    await ports.bind(publishing("127.0.0.2", id_=OTHER))
    with pytest.raises(Conflict):
        await ports.bind(publishing("127.0.0.1", "127.0.0.2"))
    assert len(control.engine.held) == 1


async def test_a_conflict_names_the_container(control, ports):
    await control.inventory.put(container(OTHER, name="first"))
    await ports.bind(publishing("127.0.0.1", id_=OTHER))
    with pytest.raises(Conflict, match="already allocated") as caught:
        await ports.bind(publishing("127.0.0.1"))
    assert caught.value.fields["container"] == "first"
    assert ports.conflicts == 1
    event = control.parts.events.history(0)[-1]
    assert (event.action, event.attributes["container"]) == ("port-conflict", "first")


async def test_a_conflict_with_itself_is_told_as_such(ports):
    twice = [
        PortBinding(container_port=inner, host_ip="127.0.0.1", host_port=80) for inner in (80, 81)
    ]
    with pytest.raises(Conflict, match="twice"):
        await ports.bind(asking(*twice))


async def test_the_same_words_twice_are_one_port_but_two_random_ones_are_two(ports):
    once = publishing("127.0.0.1", "127.0.0.1")
    assert shown(await ports.bind(once)) == ["127.0.0.1:80"]
    two = publishing("127.0.0.1", "127.0.0.1", host_port=0, id_=OTHER)
    assert len(set(shown(await ports.bind(two)))) == 2


async def test_a_process_that_is_in_the_way_is_no_container(control, ports):
    control.engine.foreign = {("tcp", ip_address("127.0.0.1"), 80)}
    with pytest.raises(Conflict, match="in use") as caught:
        await ports.bind(publishing("127.0.0.1"))
    assert "container" not in caught.value.fields


async def test_a_port_in_a_family_the_container_does_not_have_is_refused(ports):
    with pytest.raises(Invalid, match="family"):
        await ports.bind(publishing("::1"))


async def test_a_chosen_port_is_let_go_if_another_address_refuses_it(control, ports):
    set_default(control, *TWO)
    control.faults.errors["hold"] = Invalid("this host does not have the address")
    with pytest.raises(Invalid):
        await ports.bind(publishing("", host_port=0))
    assert not control.engine.held


async def test_a_chosen_port_is_the_same_on_every_address(control, ports):
    set_default(control, *TWO)
    control.engine.foreign = {("tcp", ip_address("127.0.0.2"), 40000)}
    assert shown(await ports.bind(publishing("", host_port=0))) == [
        "127.0.0.1:40001", "127.0.0.2:40001",
    ]  # fmt: skip


async def test_the_first_free_one_of_a_range(control, ports):
    set_default(control, *TWO)
    control.engine.foreign = {("tcp", ip_address("127.0.0.2"), 8000)}
    one = publishing("", host_port=8000, host_port_end=8001)
    assert shown(await ports.bind(one)) == ["127.0.0.1:8001", "127.0.0.2:8001"]
    with pytest.raises(Conflict, match="range is free") as caught:
        await ports.bind(publishing("", host_port=8000, host_port_end=8001, id_=OTHER))
    assert caught.value.fields["range"] == "8000-8001"
    assert len(control.engine.held) == 2


async def test_a_fixed_port_is_not_taken_by_a_chosen_one_before_it(ports):
    chosen = PortBinding(container_port=80, host_ip="127.0.0.1")
    fixed = PortBinding(container_port=81, host_ip="127.0.0.1", host_port=40000)
    bound = await ports.bind(asking(chosen, fixed))
    assert [(each.container_port, each.host_port) for each in bound] == [(80, 40001), (81, 40000)]


async def test_only_addresses_of_the_configuration_are_by_default(control, ports):
    set_default(control, "127.0.0.2")
    bound = await ports.bind(publishing("", "127.0.0.1"))
    assert [(each.host_ip, each.by_default) for each in bound] == [
        ("127.0.0.2", True), ("127.0.0.1", False),
    ]  # fmt: skip


async def test_what_cannot_be_held_again_is_told_once_and_tried_again(control, ports):
    record = asking(ports=[BoundPort(container_port=80, host_ip="127.0.0.1", host_port=80)])
    control.faults.errors["hold"] = Conflict("address already in use")
    for _ in range(2):
        await ports.hold_again(record)
    assert ports.conflicts == 1
    assert not ports.is_held(record.ports[0])
    control.faults.errors.clear()
    await ports.hold_again(record)
    await ports.hold_again(record)
    assert ports.is_held(record.ports[0])


async def test_what_is_tried_is_let_go(control, ports):
    async with ports.tried(publishing("127.0.0.1")) as bound:
        assert shown(bound) == ["127.0.0.1:80"]
        assert control.engine.held
    assert not control.engine.held


def test_all_exposed_ports_are_wanted_but_those_asked_for():
    record = asking(PortBinding(container_port=80, host_port=8080), expose=["80/tcp", "81/udp"])
    request = msgspec.structs.replace(record.request, publish_all=True)
    wanted = wanted_ports(msgspec.structs.replace(record, request=request))
    assert [(each.container_port, each.protocol, each.host_port) for each in wanted] == [
        (80, "tcp", 8080), (81, "udp", 0),
    ]  # fmt: skip


def test_a_record_of_before_there_were_ranges_loads():
    old = msgspec.to_builtins(asking())
    old["ports"] = [
        {"container_port": 80, "protocol": "tcp", "host_ip": "127.0.0.1", "host_port": 80}
    ]
    record = msgspec.convert(old, type=ContainerRecord)
    assert record.ports[0].by_default is False


async def test_counts_for_metrics(control, ports):
    record = publishing("127.0.0.1")
    record = msgspec.structs.replace(record, ports=await ports.bind(record))
    await control.inventory.put(record)
    assert (ports.counts(), ports.unheld()) == ({"tcp": 1}, 0)
    ports.release(record.id)
    assert ports.unheld() == 1
