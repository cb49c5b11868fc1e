"""The engine on a kernel in memory: the same cases as on the real one, and errors of specs."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from netdrivers.contract.specs import Desired
from netdrivers.engine import EVERYTHING, Engine, Turns
from netdrivers.errors import Conflict, Missing, Refused, Unavailable
from netdrivers.plan.objects import DnsRedirect, Veth
from tests.fakes.apply_cases import CASES, two_containers
from tests.fakes.kernel import FakeKernel
from tests.fakes.world import World, scope


async def make(kernel) -> Engine:
    engine = Engine(Path("/nonexistent"), agent_id="test", kernel=kernel)
    await engine.open()
    return engine


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_apply(case):
    await case(make, FakeKernel())


async def test_a_stranger_in_the_way_is_a_conflict_before_anything_is_done():
    kernel = FakeKernel(foreign=frozenset({"br-aaaaaaaaaaaa"}))
    world = two_containers()
    net = world.networks["a" * 64]
    with pytest.raises(Conflict, match="br-aaaaaaaaaaaa is not ours"):
        await (await make(kernel)).apply(world.desired, scope(networks=(net,)))
    assert kernel.objects == {}


async def test_a_stranger_in_the_way_of_one_network_keeps_no_other_down():
    kernel = FakeKernel(foreign=frozenset({"br-aaaaaaaaaaaa"}))
    report = await (await make(kernel)).apply(two_containers().desired, None)
    assert report.conflicts == ("link br-aaaaaaaaaaaa is not ours",)
    links = {obj.bridge for obj in kernel.objects.values() if isinstance(obj, Veth)}
    assert links == {"br-bbbbbbbbbbbb"}


async def test_to_mend_leaves_out_what_cannot_be_and_what_hangs_on_it():
    class Stubborn(FakeKernel):
        def _one(self, op):
            if isinstance(op.obj, Veth) and op.obj.owner == "one":
                raise Refused("told to fail", op=op.obj.name)
            super()._one(op)

    world, kernel = two_containers(), Stubborn()
    engine = await make(kernel)
    with pytest.raises(Refused):
        await engine.apply(world.desired, None)
    report = await engine.apply(world.desired, None, mend=True)
    assert [type(op.obj) for op in report.failed] == [Veth]
    assert list(report.conflicts) == list(report.failed.values())
    owners = {obj.owner for obj in kernel.objects.values() if isinstance(obj, Veth)}
    assert owners == {"two"}
    redirects = [obj for obj in kernel.objects.values() if isinstance(obj, DnsRedirect)]
    assert redirects, "of the same sandbox"
    again = await engine.apply(world.desired, None, mend=True)
    assert (again.ops, list(again.failed)) == ((), list(report.failed))


async def test_specs_that_point_nowhere_are_refused():
    world = two_containers()
    engine = await make(FakeKernel())
    with pytest.raises(Missing):
        await engine.apply(Desired(sandboxes=world.sandboxes, endpoints=world.endpoints), None)
    world.networks = {key: replace(net, driver="none-such") for key, net in world.networks.items()}
    with pytest.raises(Missing, match="none-such"):
        await engine.apply(world.desired, None)


async def test_a_kernel_that_forgets_is_refused_in_the_end():
    class Forgetful(FakeKernel):
        async def change(self, ops, done):
            done += ops

    with pytest.raises(Refused, match="does not keep"):
        await (await make(Forgetful())).apply(two_containers().desired, None)


async def test_an_engine_that_is_not_open_says_so():
    with pytest.raises(Unavailable):
        await Engine(Path("/nonexistent")).apply(World().desired, None)


async def test_turns_keep_equal_names_apart_and_let_others_pass(autojump_clock):
    turns, log = Turns(), []

    async def work(names, wait):
        async with turns.hold(frozenset(names)):
            log.append(("in", *names))
            await trio.sleep(wait)
            log.append(("out", *names))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, ("a",), 3)
        await trio.sleep(0.1)
        nursery.start_soon(work, ("a", "b"), 1)
        nursery.start_soon(work, ("c",), 1)
        await trio.sleep(0.1)
        nursery.start_soon(work, (EVERYTHING,), 1)
    order = [entry for entry in log if entry[0] == "in"]
    assert order[:2] == [("in", "a"), ("in", "c")]
    whole = log.index(("in", EVERYTHING))
    assert log[whole + 1] == ("out", EVERYTHING)
    assert log.index(("out", "a")) < log.index(("in", "a", "b"))
