"""Ports without an address go with the host's addresses."""

import msgspec
import pytest
import trio

from nodeagent.control import hostinfo
from nodeagent.control.following import Follower, plan_follow
from nodeagent.errors import Conflict
from nodeagent.model.container import BoundPort
from nodeagent.model.containerrequest import PortBinding
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network

ID = "a" * 64


def bound(ip, number=8080, *, by_default=True):
    return BoundPort(container_port=80, host_ip=ip, host_port=number, by_default=by_default)


def test_what_comes_has_the_number_of_what_is_there():
    come, go = plan_follow([bound("127.0.0.1", 40001)], ["127.0.0.1", "10.0.0.5"])
    assert (come, go) == ([bound("10.0.0.5", 40001)], [])


def test_what_is_gone_goes_and_what_was_asked_for_stays():
    asked = bound("10.0.0.5", 9000, by_default=False)
    come, go = plan_follow([bound("127.0.0.1"), bound("10.0.0.5"), asked], ["127.0.0.1"])
    assert (come, go) == ([], [bound("10.0.0.5")])
    assert plan_follow([asked], ["127.0.0.1"]) == ([], [])


def test_two_ports_of_one_container_port_are_two():
    come, _ = plan_follow([bound("127.0.0.1", 1), bound("127.0.0.1", 2)], ["127.0.0.1", "10.0.0.5"])
    assert [port.host_port for port in come] == [1, 2]


@pytest.fixture
def host(monkeypatch):
    """Addresses that this host has, for the test to change."""
    have = ["127.0.0.1"]
    monkeypatch.setattr(
        hostinfo, "read_addresses", lambda: [hostinfo.ip_address(text) for text in have]
    )
    return have


@pytest.fixture
async def control(tmp_path, nursery, host):
    made = Control(tmp_path, nursery)
    object.__setattr__(made.parts.settings, "publish_addresses", ("private",))
    request = {"ports": [PortBinding(container_port=80, host_port=8080)]}
    record = container(ID, request=request, network_mode="n" * 64, endpoints={"n" * 64: endpoint()})
    await made.inventory.put(network(), record)
    await made.lifecycle.start(ID)
    made.follower = Follower(made.parts, made.sandboxes, made.lifecycle.step)
    return made


def addresses(control):
    return [port.host_ip for port in control.inventory.container(ID).ports]


async def test_a_new_address_is_held_recorded_published_and_told(control, host):
    host.append("10.0.0.5")
    await control.follower.look()
    assert addresses(control) == ["127.0.0.1", "10.0.0.5"]
    assert all(control.sandboxes.ports.is_held(p) for p in control.inventory.container(ID).ports)
    (spec,) = control.engine.desired.endpoints.values()
    assert {str(port.host_ip) for port in spec.ports} == {"127.0.0.1", "10.0.0.5"}
    event = control.parts.events.history(0)[-1]
    assert (event.action, event.attributes["added"]) == ("ports", "10.0.0.5:8080->80/tcp")
    row = control.store.rows[f"container/{ID}"]
    assert b"10.0.0.5" in row
    before = len(control.parts.events.history(0))
    await control.follower.look()
    assert len(control.parts.events.history(0)) == before, "nothing to do the second time"


async def test_an_address_that_goes_takes_its_port_along(control, host):
    host.append("10.0.0.5")
    await control.follower.look()
    host.remove("10.0.0.5")
    await control.follower.look()
    assert addresses(control) == ["127.0.0.1"]
    assert len(control.engine.held) == 1


async def test_a_port_that_is_taken_there_is_a_warning_once_and_comes_when_free(control, host):
    host.append("10.0.0.5")
    control.engine.foreign = {("tcp", hostinfo.ip_address("10.0.0.5"), 8080)}
    for _ in range(3):
        await control.follower.look()
    assert addresses(control) == ["127.0.0.1"]
    assert control.actions().count("port-conflict") == 1
    assert control.phase(ID) == "running"
    control.engine.foreign = set()
    await control.follower.look()
    assert addresses(control) == ["127.0.0.1", "10.0.0.5"]


async def test_a_port_that_could_not_be_held_at_the_start_of_the_agent_is_held_later(control):
    record = control.inventory.container(ID)
    control.sandboxes.ports.release(ID)
    control.faults.errors["hold"] = Conflict("address already in use")
    await control.sandboxes.adopt(record)
    await control.follower.look()
    assert not control.sandboxes.ports.is_held(record.ports[0])
    control.faults.errors.clear()
    await control.follower.look()
    assert control.sandboxes.ports.is_held(record.ports[0])


async def test_what_cannot_be_recorded_is_not_held(control, host):
    host.append("10.0.0.5")
    control.faults.errors["commit"] = Conflict("the disk is full")
    await control.follower.look()
    assert addresses(control) == ["127.0.0.1"]
    assert len(control.engine.held) == 1
    control.faults.errors.clear()
    await control.follower.look()
    assert len(control.engine.held) == 2


async def test_a_stopped_container_is_left_alone(control, host):
    await control.inventory.put(
        msgspec.structs.replace(control.inventory.container(ID), phase="exited")
    )
    host.append("10.0.0.5")
    await control.follower.look()
    assert addresses(control) == ["127.0.0.1"]


async def test_wake_ups_are_heard(control, host, autojump_clock, nursery):
    nursery.start_soon(control.follower.run)
    await trio.testing.wait_all_tasks_blocked()
    host.append("10.0.0.5")
    for _ in range(5):
        control.follower.wake()
    await trio.sleep(3)  # of a clock that jumps: less than the period
    assert "10.0.0.5" in addresses(control)
