"""Whatever one object is like, the agent starts and the others are served."""

import pytest
import trio
import trio.testing

from netdrivers.errors import Conflict, Invalid
from nodeagent.control.networks import Networks
from nodeagent.control.startup import Startup
from nodeagent.model.container import BoundPort
from nodeagent.model.containerrequest import RestartPolicy
from nodeagent.model.health import HealthRecord
from runtime.contract.container import Found, Process
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network, op_of
from voldrivers.errors import Refused

ID, OTHER = "a" * 64, "b" * 64


class FakeDriver:
    on_wire = False

    def check(self, net):
        pass


@pytest.fixture
def control(tmp_path, nursery):
    made = Control(tmp_path, nursery)
    made.networks = Networks(made.parts, made.sandboxes, {"bridge": FakeDriver()})
    made.startup = Startup(
        made.parts, made.sandboxes, made.lifecycle, made.networks, made.copies, made.repairer
    )
    return made


def runs(control, id_=ID):
    control.runtime.up[id_] = (trio.Event(), [])
    process = Process(pid=7, conmon_pid=8, started_ticks=9)
    control.runtime.found.append(Found(id=id_, state="running", process=process))


@pytest.mark.parametrize("step", ["volume clean", "look", "apply"])
async def test_a_broken_part_does_not_keep_the_agent_from_starting(control, step):
    control.faults.errors[step] = Refused("the kernel said no")
    await control.startup.run()


async def test_one_conflict_keeps_nothing_else_from_being_repaired(control):
    await control.inventory.put(network(predefined=True))
    control.engine.drift = (op_of("n" * 64), op_of(""))
    control.faults.errors["repair"] = Conflict("a foreign link is in the way")
    await control.startup.run()
    assert "apply" in control.faults.calls
    assert [op.obj.owner for op in control.engine.drift] == [""]
    assert control.repairer.repairs.failures == 1


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


async def test_a_kill_that_did_not_end_it_is_forgotten(control):
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


async def test_a_start_by_policy_is_one_of_its_tries(control, autojump_clock):
    policy = RestartPolicy(name="on-failure", max_retries=2)
    down = container(
        request={"restart_policy": policy}, exit_code=1, restart_count=1,
        started_at="2026-01-01T00:00:00Z", finished_at="2026-01-01T00:00:01Z",
    )  # fmt: skip
    await control.inventory.put(down)
    await control.startup.run()
    await control.startup.start_by_policy()
    assert control.phase() == "running"
    control.runtime.end(ID, 1)
    await trio.sleep(300)
    record = control.inventory.container(ID)
    assert (record.phase, record.restart_count) == ("exited", 2)
    await control.startup.start_by_policy()  # as by the agent after this one
    assert control.phase() == "exited"
    await control.lifecycle.start(ID)
    assert control.inventory.container(ID).restart_count == 0


async def test_an_adopted_one_is_answered_as_it_was_before(control, autojump_clock):
    check = HealthRecord(
        test=["CMD", "true"], args=["true"], interval_s=60.0, timeout_s=1.0, start_period_s=0.0,
        start_interval_s=60.0, retries=1,
    )  # fmt: skip
    for id_, was_healthy in ((ID, True), (OTHER, False)):
        await control.inventory.put(
            container(id_, phase="running", health=check, was_healthy=was_healthy,
                      started_at="2026-01-01T00:00:00Z")
        )  # fmt: skip
        runs(control, id_)
    told = []
    control.sandboxes.set_ready = lambda id_, ready: told.append((id_, ready))
    await control.startup.run()
    assert sorted(told) == [(ID, True), (OTHER, False)]
    assert {control.containers.health_of(id_).status for id_ in (ID, OTHER)} == {"starting"}


@pytest.mark.parametrize(("leads", "phase"), [("down", "exited"), ("up", "running")])
@pytest.mark.parametrize("policy", ["no", "always"])
async def test_a_stop_or_restart_that_was_cut_off_comes_to_its_end(
    control, autojump_clock, leads, phase, policy
):
    request = {"restart_policy": RestartPolicy(name=policy)}
    up = container(request=request, phase="running", stopped_by_hand=True, ending=leads,
                   started_at="2026-01-01T00:00:00Z")  # fmt: skip
    await control.inventory.put(up)
    runs(control)
    await control.startup.run()
    await control.startup.start_by_policy()
    await trio.sleep(100)
    assert control.runtime.signals == [15]
    assert control.phase() == phase
    assert control.inventory.container(ID).ending == ""


async def test_a_restart_that_was_cut_off_after_the_end_starts_what_else_would_go(control):
    past = {"phase": "exited", "started_at": "2026-01-01T00:00:00Z", "stopped_by_hand": True}
    await control.inventory.put(container(request={"auto_remove": True}, ending="up", **past))
    await control.startup.run()
    await control.startup.start_by_policy()
    assert control.phase() == "running"
    control.runtime.end(ID)
    await trio.testing.wait_all_tasks_blocked()
    assert control.phase() == "gone"


async def test_what_could_not_be_adopted_is_shown_and_tried_again(control, nursery, autojump_clock):
    joined = {"network_mode": "n" * 64, "endpoints": {"n" * 64: endpoint()}}
    up = container(phase="running", started_at="2026-01-01T00:00:00Z", **joined)
    await control.inventory.put(network(), up)
    runs(control)
    control.faults.errors["make_sandbox"] = Refused("the kernel said no")
    await control.startup.run()
    (row,) = control.containers.ls(everything=False, filters={})
    assert row.status.endswith("(Not adopted)")
    (view,) = control.containers.inspect([ID])
    assert "not adopted, tried again: the kernel said no" in view.state.error
    assert "unadopted" in [each.action for each in control.parts.events.history(0)]
    nursery.start_soon(control.startup.start_by_policy)
    await trio.sleep(20)
    assert control.containers.inspect([ID])[0].state.error
    del control.faults.errors["make_sandbox"]
    await trio.sleep(60)
    assert control.containers.inspect([ID])[0].state.error == ""
    control.runtime.end(ID, 4)
    await trio.testing.wait_all_tasks_blocked()
    assert control.inventory.container(ID).exit_code == 4
    assert control.faults.calls.count("wait_exit") == 1


async def test_mounts_of_what_does_not_run_are_taken_away(control):
    """A start that was cut off, or a removal, leaves them."""
    await control.inventory.put(container(phase="running"), container(OTHER, phase="exited"))
    runs(control)
    for kept in (control.parts.shared_memory, control.parts.mapped_mounts):
        kept.there = {ID, OTHER, "c" * 64}
    await control.startup.run()
    assert control.parts.shared_memory.there == control.parts.mapped_mounts.there == {ID}
