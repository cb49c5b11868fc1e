import trio

from nodeagent.control.wakes import Wakes


async def test_many_wakes_are_one(autojump_clock):
    wakes = Wakes()
    for _ in range(5):
        wakes.wake()
    await wakes.wait(10)
    began = trio.current_time()
    await wakes.wait(10)
    assert trio.current_time() - began >= 10


async def test_a_wake_during_the_wait_ends_it(autojump_clock, nursery):
    wakes = Wakes()
    began = trio.current_time()

    async def later():
        await trio.sleep(3)
        wakes.wake()

    nursery.start_soon(later)
    await wakes.wait(10)
    assert 3 <= trio.current_time() - began < 4
