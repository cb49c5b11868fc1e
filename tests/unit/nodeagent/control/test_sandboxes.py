"""Readiness of names, and what a step on one container costs."""

import pytest

from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network


@pytest.fixture
def control(tmp_path, nursery):
    return Control(tmp_path, nursery)


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
    assert ready(control, "web") == [False]
    assert control.sandboxes.name_rows("n" * 64) == []
    control.sandboxes.show(record.id)
    assert ready(control, "web") == [True]
    assert control.sandboxes.name_rows("gone") == []


async def test_a_readiness_that_is_known_costs_nothing(control):
    table = control.names.table
    control.sandboxes.set_ready("a" * 64, True)
    assert control.names.table is table


async def test_a_step_on_one_container_is_about_nothing_else(control):
    """Else the two-thousandth container would cost two thousand times the first."""
    await control.inventory.put(network(), network("m" * 64, name="other"))
    for id_ in ("a" * 64, "b" * 64):
        record = container(id_, network_mode="n" * 64, endpoints={"n" * 64: endpoint()})
        await control.inventory.put(record)
        await control.sandboxes.open(record)
    assert control.engine.desired.sandboxes.keys() == {"b" * 64}
    assert control.engine.desired.networks.keys() == {"n" * 64}
    await control.sandboxes.apply_network("m" * 64)
    assert control.engine.desired.networks.keys() == {"m" * 64}
    assert len(control.sandboxes.wanted().sandboxes) == 2
