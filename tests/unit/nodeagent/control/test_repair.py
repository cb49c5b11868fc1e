"""What is not as wanted is mended in its own turn, told and counted."""

import pytest
import trio

from netdrivers.contract.engine import Report
from netdrivers.errors import Refused
from netdrivers.plan.objects import Bridge, DnsRedirect, Element, Sandbox, Table
from netdrivers.plan.ops import Op
from nodeagent.control.fights import FIRST_S, OFTEN
from nodeagent.control.repair import FEW, TOLD, kind
from nodeagent.errors import Missing
from tests.fakes.control import Control
from tests.fakes.records import container, endpoint, network, op_of

NET, ONE, TWO = "n" * 64, "a" * 64, "b" * 64


@pytest.fixture
async def control(tmp_path, nursery):
    made = Control(tmp_path, nursery)
    await made.inventory.put(network(), network("m" * 64, name="other"))
    for id_, name in ((ONE, "web"), (TWO, "db")):
        joined = {NET: endpoint()} if id_ == ONE else {}
        record = container(id_, name=name, network_mode=NET, endpoints=joined)
        await made.inventory.put(record)
        await made.sandboxes.open(record)
    made.faults.calls.clear()
    return made


def drifted(control, *ops):
    control.engine.drift = ops


def told(control):
    return [
        (e.type, e.action, e.name, e.attributes.get("container", ""), e.attributes["count"])
        for e in control.parts.events.history(0)
    ]


async def test_nothing_is_done_where_nothing_is_wrong(control):
    drift = await control.repairer.look(fresh=False)
    assert (drift.ops, drift.conflicts) == ((), ())
    assert control.faults.calls == ["look"]
    assert told(control) == []


async def test_few_are_mended_one_by_one_and_each_is_told(control):
    drifted(control, op_of(NET, 1), op_of(ONE, 2), op_of(ONE, 3))
    drift = await control.repairer.look(fresh=False)
    assert len(drift.ops) == 3
    assert control.faults.calls == ["look", "apply", "apply"]
    assert told(control) == [
        ("network", "repair", "demo", "", "1"),
        ("network", "repair", "demo", "web", "2"),
    ]
    assert "+ addr 10.9.9.2/24" in control.parts.events.history(0)[1].attributes["ops"]
    assert control.repairer.repairs.ops == {"address": 3}


@pytest.mark.parametrize(
    "ops",
    [[op_of("")], [op_of("?")], [op_of(f"{n:064}") for n in range(FEW + 1)]],
    ids=["shared", "nobody's", "many"],
)
async def test_the_rest_is_one_pass(control, ops):
    drifted(control, *ops)
    await control.repairer.look(fresh=False)
    assert control.faults.calls == ["look", "repair"]
    assert len(told(control)) == len(ops)


async def test_much_is_told_in_few_words(control):
    drifted(control, *(op_of(ONE, n) for n in range(TOLD * 2)), *(op_of(f"{n}") for n in range(50)))
    await control.repairer.look(fresh=False)
    assert len(told(control)) == TOLD
    event = control.parts.events.history(0)[0]
    assert event.attributes["count"] == str(TOLD * 2)
    assert len(event.attributes["ops"].splitlines()) == TOLD


async def test_one_that_cannot_be_mended_keeps_no_other_from_it(control):
    drifted(control, op_of(ONE), op_of(TWO))
    applied = control.engine.apply

    async def refuse(desired, scope, **how):
        if ONE in scope.sandboxes:
            raise Refused("no such device")
        return await applied(desired, scope, **how)

    control.engine.apply = refuse
    drift = await control.repairer.look(fresh=False)
    assert [op.obj.owner for op in drift.ops] == [TWO]
    assert drift.conflicts == ("no such device",)


async def test_what_cannot_be_done_is_told_once(control):
    bad, good = op_of(ONE), op_of(ONE, 2)

    async def refuse(desired, scope, *, mend):
        assert mend
        return Report(ops=(good,), conflicts=("no room",), failed={bad: "no room"})

    control.engine.apply = refuse
    for _ in range(2):
        drifted(control, bad, good)
        drift = await control.repairer.look(fresh=False)
        assert (list(drift.ops), list(drift.conflicts)) == ([good], ["no room"])
        assert control.repairer.left == [bad]
    failed = [e for e in control.parts.events.history(0) if e.action == "repair failed"]
    assert [(e.attributes["why"], e.attributes["container"]) for e in failed] == [
        ("no room", "web")
    ]


async def test_a_failed_look_is_counted(control):
    control.faults.errors["look"] = Refused("no")
    with pytest.raises(Refused):
        await control.repairer.look(fresh=False)
    assert (control.repairer.repairs.runs, control.repairer.repairs.failures) == (1, 1)


async def test_it_waits_for_a_step_on_the_same_object_only(control, autojump_clock):
    drifted(control, op_of(ONE), op_of(NET))
    async with trio.open_nursery() as nursery, control.sandboxes.gate.step(ONE):
        nursery.start_soon(_look, control)
        await trio.sleep(1)
        assert control.faults.calls == ["look"]  # in the order found
        assert len(control.engine.drift) == 2
    assert control.engine.drift == ()


async def _look(control):
    await control.repairer.look(fresh=False)


async def test_who_fights_is_told_of_and_held_back(control, autojump_clock):
    for _ in range(OFTEN):
        drifted(control, op_of(NET))
        assert (await control.repairer.look(fresh=False)).ops
    assert [action for _, action, *_ in told(control)].count("fought over") == 1
    drifted(control, op_of(NET), op_of(ONE, 2))
    assert [op.obj.owner for op in (await control.repairer.look(fresh=False)).ops] == [ONE]
    assert control.repairer.wait_s == pytest.approx(FIRST_S)
    await trio.sleep(control.repairer.wait_s)
    assert [op.obj.owner for op in (await control.repairer.look(fresh=False)).ops] == [NET]
    drifted(control, op_of(NET))
    assert (await control.repairer.repair()).ops, "who asks for a repair gets it"


async def test_check_mends_nothing(control):
    drifted(control, op_of(NET), op_of(ONE, 2))
    drift = await control.repairer.check()
    assert drift.lines == ["+ addr 10.9.9.1/24 dev br-1", "+ addr 10.9.9.2/24 dev br-1"]
    assert control.faults.calls == ["look"]
    assert told(control) == []


async def test_one_network_is_what_it_depends_on(control):
    drifted(control, op_of(NET), op_of(ONE, 2), op_of(TWO, 3), op_of("", 4))
    drift = await control.repairer.check("demo")
    assert [op.obj.owner for op in drift.ops] == [NET, ONE, ""]
    assert [op.obj.owner for op in (await control.repairer.check("other")).ops] == [""]
    with pytest.raises(Missing):
        await control.repairer.check("nope")
    control.engine.drift = control.engine.drift[:3]
    await control.repairer.repair("demo")
    assert [op.obj.owner for op in control.engine.drift] == [TWO]


@pytest.mark.parametrize(
    ("obj", "name"),
    [
        (Table(), "rule"),
        (Sandbox(id="a"), "namespace"),
        (Bridge(name="b", owner="n", mac=""), "link"),
        (DnsRedirect(ns="a", port=1), "redirect"),
        (Element(set="nat", match=("b",), owner="n"), "element"),
        (op_of("n").obj, "address"),
    ],
)
def test_kinds(obj, name):
    assert kind(Op(verb="add", obj=obj)) == name
