"""One object's steps come one after the other, a pass over everything alone."""

import pytest
import trio

from nodeagent.control.gate import Gate


@pytest.fixture
def log():
    return []


async def hold(context, name, log, seconds=1.0):
    async with context:
        log.append(f"+{name}")
        await trio.sleep(seconds)
        log.append(f"-{name}")


async def test_steps_of_different_objects_go_together_and_those_of_one_do_not(log, autojump_clock):
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, gate.step("a"), "a", log)
        await trio.sleep(0.1)
        nursery.start_soon(hold, gate.step("b"), "b", log)
        nursery.start_soon(hold, gate.step("a"), "again", log)
    assert log == ["+a", "+b", "-a", "+again", "-b", "-again"]


async def test_a_pass_waits_for_steps_and_no_later_step_overtakes_it(log, autojump_clock):
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, gate.step("a"), "a", log)
        await trio.sleep(0.1)
        nursery.start_soon(hold, gate.whole(), "all", log)
        await trio.sleep(0.1)
        nursery.start_soon(hold, gate.step("b"), "b", log)
    assert log == ["+a", "-a", "+all", "-all", "+b", "-b"]


async def test_a_pass_that_gives_up_lets_the_steps_go_on(log, autojump_clock):
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, gate.step("a"), "a", log)
        await trio.sleep(0.1)
        with trio.move_on_after(0.1):
            await hold(gate.whole(), "all", log)
        nursery.start_soon(hold, gate.step("b"), "b", log)
    assert log == ["+a", "+b", "-a", "-b"]


async def test_a_step_that_fails_or_is_cancelled_holds_nothing(log, autojump_clock):
    gate = Gate()
    with pytest.raises(ValueError, match="broken"):
        async with gate.step("a"):
            raise ValueError("broken")
    with trio.move_on_after(0.1):
        async with gate.step("a"):
            await trio.sleep_forever()
    with trio.move_on_after(0.1):
        async with gate.whole():
            await trio.sleep_forever()
    async with gate.step("a"):
        log.append("free")
    assert log == ["free"]
