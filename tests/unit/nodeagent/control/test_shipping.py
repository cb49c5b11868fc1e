from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nodeagent.control.shipping import DRAIN_S, RETRY_MAX_S, Shipping
from nodeagent.errors import Unavailable
from nodeagent.model.logs import LogRecord
from runtime.contract.logs import Cursor, LogLine
from tests.fakes.control import Control
from tests.fakes.records import container

A = "a" * 64
SYSLOG = LogRecord(
    driver="syslog", options={"syslog-address": "udp://127.0.0.1", "tag": "{{.Name}}"}
)


def lines(*numbers):
    return [
        LogLine(time_ns=n, stream="stdout", data=b"%d\n" % n, cursor=Cursor(generation=1, offset=n))
        for n in numbers
    ]


class Collector:
    """Takes what comes, unless it is down, or goes down in the midst of something."""

    def __init__(self):
        self.got = []
        self.origins = []
        self.is_down = False
        self.opened = 0

    @asynccontextmanager
    async def open(self, _target, origin):
        await trio.lowlevel.checkpoint()
        self.opened += 1
        self.origins.append(origin)
        self._check()
        yield self

    def _check(self):
        if self.is_down:
            raise Unavailable("reach collector")

    async def send(self, batch):
        await trio.lowlevel.checkpoint()
        self._check()
        self.got += [int(line.data) for line in batch]


class Scene:
    def __init__(self, root, nursery):
        self.control = Control(root, nursery)
        self.book = self.control.runtime.logbook
        self.collector = Collector()
        self.shipping = self.another(nursery)

    def another(self, nursery):
        return Shipping(self.control.parts, self.collector.open, nursery, host="node1")

    async def put(self, record):
        await self.control.inventory.put(record)
        self.shipping.look()
        await wait_all_tasks_blocked()
        return record

    async def write(self, *numbers):
        self.book.write(lines(*numbers))
        await wait_all_tasks_blocked()

    def actions(self):
        return [action for action in self.control.actions() if action.startswith("log_")]


@pytest.fixture
def scene(tmp_path, nursery):
    return Scene(tmp_path, nursery)


def running(**fields):
    fields = {"phase": "running", "started_at": "2026-01-01T00:00:00Z", "log": SYSLOG, **fields}
    return container(A, **fields)


def exited(record):
    return msgspec.structs.replace(record, phase="exited")


async def test_what_comes_goes_out_and_how_far_is_durable(scene):
    record = await scene.put(running())
    await scene.write(1, 2)
    await scene.write(3)
    assert scene.collector.got == [1, 2, 3]
    assert scene.book.shipped[A] == Cursor(generation=1, offset=3)
    origin = scene.collector.origins[0]
    assert (origin.host, origin.container_name, origin.tag) == ("node1", "web", "web")
    await scene.put(exited(record))
    assert scene.shipping.shipments[A].is_done
    assert scene.shipping.shipments[A].lines == 3


async def test_nobody_is_bothered_before_there_is_something(scene):
    scene.book.shipped[A] = Cursor(generation=1, offset=2)
    scene.book.batches.append(lines(1, 2))
    await scene.put(exited(running()))
    assert scene.shipping.shipments[A].is_done
    assert not scene.collector.opened


async def test_others_are_left_alone(scene):
    await scene.put(running(log=LogRecord(driver="local")))
    await scene.put(running(started_at="", phase="created"))
    assert not scene.collector.opened


async def test_the_next_agent_goes_on_where_this_one_was_killed(scene, nursery):
    await scene.put(running())
    await scene.write(1, 2)
    scene.shipping.shipments[A].scope.cancel()
    await wait_all_tasks_blocked()
    scene.book.batches.append(lines(3))
    scene.shipping = scene.another(nursery)
    scene.shipping.look()
    await wait_all_tasks_blocked()
    assert scene.collector.got == [1, 2, 3]


async def test_a_dead_collector_is_told_once_tried_ever_less_and_gets_it_all_at_last(
    scene, autojump_clock
):
    scene.collector.is_down = True
    await scene.put(running())
    await scene.write(1)
    await trio.sleep(600)
    shipment = scene.shipping.shipments[A]
    assert shipment.is_failing
    assert 600 / RETRY_MAX_S <= shipment.failures <= 10 + 600 / RETRY_MAX_S
    scene.collector.is_down = False
    await trio.sleep(RETRY_MAX_S)
    await wait_all_tasks_blocked()
    assert scene.collector.got == [1]
    assert not shipment.is_failing
    assert scene.actions() == ["log_collector_lost", "log_collector_back"]


async def test_one_that_breaks_off_gets_the_whole_batch_again(scene, autojump_clock):
    await scene.put(running())
    await scene.write(1)
    scene.collector.is_down = True
    await scene.write(2, 3)
    scene.collector.is_down = False
    await trio.sleep(1)
    await wait_all_tasks_blocked()
    assert scene.collector.got == [1, 2, 3]


async def test_what_rotation_took_before_is_counted_and_told_once(scene, autojump_clock):
    await scene.put(running())
    scene.collector.is_down = True
    gap = LogLine(time_ns=0, stream="stderr", data=b"", cursor=lines(8)[0].cursor, lost=3)
    scene.book.write([gap])
    await scene.write(9)
    scene.collector.is_down = False
    await trio.sleep(RETRY_MAX_S)
    await wait_all_tasks_blocked()
    assert scene.collector.got == [9]
    assert scene.shipping.shipments[A].lost == 3
    assert scene.actions() == ["log_lost", "log_collector_lost", "log_collector_back"]


async def test_a_full_disk_does_not_repeat_what_was_sent(scene, autojump_clock):
    record = await scene.put(running())
    scene.control.faults.errors["write_shipped"] = OSError(28, "full")
    await scene.write(1)
    await scene.write(2)
    await trio.sleep(60)
    assert scene.collector.got == [1, 2]
    assert not scene.shipping.shipments[A].failures
    await scene.put(exited(record))


async def test_the_next_run_is_shipped_too(scene):
    record = await scene.put(running())
    await scene.write(1)
    await scene.put(exited(record))
    await scene.put(running(started_at="2026-01-02T00:00:00Z"))
    await scene.write(2)
    assert scene.collector.got == [1, 2]
    assert scene.shipping.shipments[A].lines == 2, "a counter does not go back"


async def test_a_removal_ships_what_is_left(scene):
    """It began and ended between two looks."""
    scene.book.batches.append(lines(1, 2))
    await scene.shipping.finish(exited(running()))
    assert scene.collector.got == [1, 2]
    assert not scene.shipping.shipments


async def test_a_removal_does_not_wait_for_the_dead(scene, autojump_clock):
    scene.collector.is_down = True
    await scene.put(running())
    await scene.write(1)
    before = trio.current_time()
    await scene.shipping.finish(exited(running()))
    assert trio.current_time() == before
    scene.shipping.shipments.clear()


async def test_a_removal_waits_no_longer_than_it_may(scene, autojump_clock):
    await scene.put(running())
    scene.control.faults.shut("write_shipped")
    await scene.write(1)
    before = trio.current_time()
    await scene.shipping.finish(exited(running()))
    assert trio.current_time() - before == pytest.approx(DRAIN_S)


async def test_what_is_gone_is_not_shipped_any_more(scene):
    record = await scene.put(running())
    await scene.control.inventory.delete(record)
    scene.shipping.look()
    await scene.write(1)
    assert not scene.collector.got
    assert not scene.shipping.shipments


async def test_a_defect_of_one_is_logged_and_tried_again(scene, autojump_clock, caplog):
    scene.control.faults.errors["read_shipped"] = ValueError("a defect")
    await scene.put(running())
    await trio.sleep(2)
    assert "ship a log" in caplog.text
    scene.control.faults.errors.clear()
    await trio.sleep(RETRY_MAX_S)
    await scene.write(1)
    assert scene.collector.got == [1]
