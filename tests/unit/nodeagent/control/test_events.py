"""Events: remembered, followed, and dropped with a count when nobody reads."""

import trio.testing

from nodeagent.control.events import HISTORY, Events


async def test_history_comes_first_then_what_is_new(nursery):
    events = Events(lambda: 1.0)
    events.publish("network", "create", "id", "demo", driver="bridge")
    with events.subscribe(0) as subscriber:
        first = await subscriber.receive()
        assert (first.action, first.attributes) == ("create", {"driver": "bridge"})
        got = []

        async def read():
            got.append(await subscriber.receive())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert not got
        events.publish("network", "destroy", "id", "demo")
        await trio.testing.wait_all_tasks_blocked()
        assert got[0].action == "destroy"


async def test_a_slow_reader_is_told_what_it_lost():
    events = Events(lambda: 1.0)
    with events.subscribe(0) as subscriber:
        for n in range(HISTORY + 7):
            events.publish("agent", "tick", str(n), "")
        lost = await subscriber.receive()
        assert (lost.action, lost.attributes) == ("events-dropped", {"count": "7"})
        assert (await subscriber.receive()).id == "7"


def test_since_cuts_the_history():
    clock = iter([1.0, 2.0])
    events = Events(lambda: next(clock))
    events.publish("agent", "one", "", "")
    events.publish("agent", "two", "", "")
    assert [each.action for each in events.history(int(1.5e9))] == ["two"]
