"""Events are written behind the agent's back, and waited for at its end."""

from functools import partial

import trio

from nodeagent.control.eventkeeper import keep, open_events
from nodeagent.control.events import HISTORY, Events


def publish(events, *names):
    for name in names:
        events.publish("container", "start", "i", name)


def names(events):
    return [each.name for each in events]


async def until(holds):
    with trio.fail_after(10):
        while not holds():  # noqa: ASYNC110  a thread changes it
            await trio.sleep(0.001)


class Disk:
    """As an EventLog; ``error`` is what a write meets."""

    def __init__(self):
        self.written, self.error, self.tries = [], None, 0

    def append(self, events):
        self.tries += 1
        if self.error:
            raise self.error
        self.written += events


async def test_the_next_agent_knows_what_happened_before(tmp_path):
    async with open_events(tmp_path / "events", lambda: 1.0) as events:
        publish(events, "a", "b")
    async with open_events(tmp_path / "events", lambda: 2.0) as events:
        assert names(events.history(0)) == ["a", "b"]
        publish(events, "c")
        assert names(events.history(1_500_000_000)) == ["c"]
    async with open_events(tmp_path / "events", lambda: 3.0) as events:
        assert names(events.history(0)) == ["a", "b", "c"]


async def test_a_full_disk_is_tried_again_and_nothing_is_written_twice(nursery):
    events, disk = Events(lambda: 1.0), Disk()
    disk.error = OSError("no space left")
    nursery.start_soon(partial(keep, events, disk, retry_s=0.001))
    publish(events, "a")
    await until(lambda: disk.tries > 2)
    publish(events, "b")
    disk.error = None
    await until(lambda: not events.unwritten)
    publish(events, "c")
    await until(lambda: not events.unwritten)
    assert names(disk.written) == ["a", "b", "c"]


def test_a_flood_that_outruns_the_disk_is_bounded():
    events = Events(lambda: 1.0)
    publish(events, "first")
    batch = list(events.unwritten)
    publish(events, *map(str, range(HISTORY)))
    events.drop_written(batch)
    assert len(events.unwritten) == HISTORY
    publish(events, "more")
    events.drop_written(list(events.unwritten)[:-1])
    assert names(events.unwritten) == ["more"]
