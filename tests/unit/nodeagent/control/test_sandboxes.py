"""Host ports: held by one container, in families that lead to it. Readiness of names."""

import msgspec
import pytest

from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import PortBinding
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network

OTHER = "b" * 64


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


def publishing(*host_ips, id_="a" * 64, host_port=80):
    ports = [PortBinding(container_port=80, host_ip=ip, host_port=host_port) for ip in host_ips]
    return container(
        id_, request={"ports": ports}, network_mode="n" * 64, endpoints={"n" * 64: endpoint()}
    )


async def test_a_stale_record_does_not_let_go_what_another_one_holds(control):
    await control.inventory.put(network())
    stale = publishing("127.0.0.1")
    stale = msgspec.structs.replace(stale, ports=control.sandboxes.bind_ports(stale))
    await control.sandboxes.close(stale)
    control.sandboxes.bind_ports(publishing("127.0.0.1", id_=OTHER))
    await control.sandboxes.close(stale)
    assert len(control.engine.held) == 1


async def test_all_or_none_are_held(control):
    control.sandboxes.bind_ports(publishing("127.0.0.2", id_=OTHER))
    with pytest.raises(Conflict):
        control.sandboxes.bind_ports(publishing("127.0.0.1", "127.0.0.2"))
    assert len(control.engine.held) == 1


async def test_a_port_in_a_family_the_container_does_not_have_is_refused(control):
    with pytest.raises(Invalid, match="family"):
        control.sandboxes.bind_ports(publishing("::1"))


async def test_a_chosen_port_is_let_go_if_another_address_refuses_it(control):
    addresses = ("127.0.0.1", "127.0.0.2")
    object.__setattr__(control.parts.settings, "publish_addresses", addresses)
    control.faults.errors["hold"] = Invalid("this host does not have the address")
    with pytest.raises(Invalid):
        control.sandboxes.bind_ports(publishing("", host_port=0))
    assert not control.engine.held


def ready(control, name):
    zone = control.names.table.zones["n" * 64]
    return [host.is_ready for host in zone.names.get(name, ())]


async def test_readiness_is_told_to_the_names_and_forgotten_with_them(control):
    record = container(network_mode="n" * 64, endpoints={"n" * 64: endpoint()})
    await control.inventory.put(network())
    await control.inventory.put(record)
    control.sandboxes.set_ready(record.id, False)  # may come before the names
    control.sandboxes.show(record.id)
    assert ready(control, "web") == [False]
    assert not control.sandboxes.name_rows("n" * 64)[0].is_ready
    control.sandboxes.set_ready(record.id, True)
    assert ready(control, "web") == [True]
    control.sandboxes.set_ready(record.id, False)
    control.sandboxes.hide(record.id)
    assert ready(control, "web") == []
    control.sandboxes.show(record.id)
    assert ready(control, "web") == [True]
    assert control.sandboxes.name_rows("gone") == []


async def test_a_readiness_that_is_known_costs_nothing(control):
    table = control.names.table
    control.sandboxes.set_ready("a" * 64, True)
    assert control.names.table is table
