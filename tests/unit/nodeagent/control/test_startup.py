"""Whatever one object is like, the agent starts and the others are served."""

import pytest
import trio
import trio.testing

from netdrivers.errors import Conflict, Invalid
from nodeagent.control.networks import Networks
from nodeagent.control.startup import Startup
from nodeagent.model.container import BoundPort, RestartPolicy
from runtime.contract import Found, Process
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network
from voldrivers.errors import Refused

ID, OTHER = "a" * 64, "b" * 64


class FakeDriver:
    def check(self, net):
        pass


@pytest.fixture
def control(tmp_path, nursery):
    made = Control(tmp_path, nursery)
    made.networks = Networks(made.parts, made.sandboxes, {"bridge": FakeDriver()})
    made.startup = Startup(made.parts, made.sandboxes, made.lifecycle, made.networks, made.volumes)
    return made


def runs(control, id_=ID):
    control.runtime.up[id_] = (trio.Event(), [])
    process = Process(pid=7, conmon_pid=8, started_ticks=9)
    control.runtime.found.append(Found(id=id_, state="running", process=process))


@pytest.mark.parametrize("step", ["volume clean", "repair", "apply"])
async def test_a_broken_part_does_not_keep_the_agent_from_starting(control, step):
    control.faults.errors[step] = Refused("the kernel said no")
    await control.startup.run()


async def test_one_conflict_keeps_nothing_else_from_being_repaired(control):
    await control.inventory.put(network(predefined=True))
    control.faults.errors["repair"] = Conflict("a foreign link is in the way")
    await control.startup.run()
    assert "apply" in control.faults.calls
    assert control.sandboxes.repairs.failures == 1


async def test_a_running_one_is_watched_though_its_port_cannot_be_held(control):
    ports = [BoundPort(container_port=80, host_ip="192.168.7.7", host_port=80)]
    await control.inventory.put(
        network(), container(phase="running", network_mode="n" * 64, ports=ports,
                             endpoints={"n" * 64: endpoint()}))  # fmt: skip
    control.faults.errors["hold"] = Invalid("this host does not have the address")
    runs(control)
    await control.startup.run()
    assert control.sandboxes.is_live(ID)
    control.runtime.end(ID, 4)
    await trio.testing.wait_all_tasks_blocked()
    assert control.inventory.container(ID).exit_code == 4


async def test_a_stop_that_was_cut_off_is_forgotten(control):
    await control.inventory.put(container(phase="running", stopped_by_hand=True))
    runs(control)
    await control.startup.run()
    assert not control.inventory.container(ID).stopped_by_hand


@pytest.mark.parametrize("phase", ["exited", "starting"])
async def test_what_goes_at_its_end_goes(control, phase):
    await control.inventory.put(container(request={"auto_remove": True}, phase=phase))
    await control.startup.run()
    assert control.phase() == "gone"


async def test_who_shares_a_network_is_started_after_its_owner(control):
    always = {"restart_policy": RestartPolicy(name="always")}
    past = {"phase": "exited", "started_at": "2026-01-01T00:00:00Z"}
    await control.inventory.put(
        container(ID, name="sharer", request=always, network_mode=f"container:{OTHER}", **past),
        container(OTHER, name="owner", request=always, **past),
    )
    await control.startup.run()
    await control.startup.start_by_policy()
    assert (control.phase(ID), control.phase(OTHER)) == ("running", "running")
