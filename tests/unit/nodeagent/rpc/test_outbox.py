"""The outbox: in order, joined, bounded."""

import trio
import trio.testing

from nodeagent.rpc.outbox import Outbox


class SlowStream(trio.abc.SendStream):
    """Takes bytes only when told to."""

    def __init__(self):
        self.sent = []
        self.gate = trio.Event()

    async def send_all(self, data):
        await self.gate.wait()
        self.sent.append(bytes(data))

    async def wait_send_all_might_not_block(self):
        await self.gate.wait()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_what_is_ready_goes_in_one_send(nursery):
    stream = SlowStream()
    stream.gate.set()
    outbox = Outbox(stream)
    for number in range(10):
        outbox.put_nowait(b"%d" % number)
    nursery.start_soon(outbox.run)
    await trio.testing.wait_all_tasks_blocked()
    assert stream.sent == [b"0123456789"]


async def test_a_slow_reader_holds_producers_back(nursery):
    stream = SlowStream()
    outbox = Outbox(stream)
    put = []

    async def produce():
        for number in range(100):
            await outbox.put(bytes(100_000))
            put.append(number)

    nursery.start_soon(outbox.run)
    nursery.start_soon(produce)
    await trio.testing.wait_all_tasks_blocked()
    assert len(put) == 3
    stream.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert len(put) == 100
    assert sum(map(len, stream.sent)) == 10_000_000


async def test_after_the_end_nothing_waits():
    outbox = Outbox(SlowStream())
    outbox.put_nowait(bytes(10**6))
    with trio.move_on_after(0):
        await outbox.run()
    with trio.fail_after(1):
        await outbox.put(b"dropped")
