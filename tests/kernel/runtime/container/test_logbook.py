import contextlib
import time

import trio

from runtime.container import logbook
from runtime.contract.logs import Query
from runtime.errors import Exhausted
from runtime.logs import generations


async def lines_of(box, container_id, **query):
    return [line async for line in box.rt.logbook.read(container_id, Query(**query))]


async def test_follow_ends_with_the_container(box):
    container_id = await box.run("sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.03; done")
    with trio.fail_after(10):
        lines = await lines_of(box, container_id, follow=True)
    assert [line.data for line in lines] == [b"%d\n" % n for n in range(1, 6)]


async def test_tail_and_times(box):
    container_id = await box.run(
        "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.02; done; echo -n end"
    )
    await box.finish(container_id)
    everything = await lines_of(box, container_id)
    assert [line.data for line in everything] == [b"1\n", b"2\n", b"3\n", b"end"]
    assert [line.data for line in await lines_of(box, container_id, tail=2)] == [b"3\n", b"end"]
    assert await lines_of(box, container_id, tail=0) == []
    since = await lines_of(box, container_id, since_ns=everything[1].time_ns)
    assert [line.data for line in since] == [b"2\n", b"3\n", b"end"]
    until = await lines_of(box, container_id, until_ns=everything[1].time_ns)
    assert [line.data for line in until] == [b"1\n", b"2\n"]
    assert abs(everything[0].time_ns - time.time_ns()) < 30e9


async def test_huge_line_is_whole(box):
    container_id = await box.run(
        "sh", "-c", "yes x | head -c 600000 | tr -d '\\n'; echo; echo next"
    )
    await box.finish(container_id)
    assert [line.data for line in await lines_of(box, container_id)] == [
        b"x" * 300000 + b"\n",
        b"next\n",
    ]


async def test_follow_until_a_moment(box):
    container_id = await box.run("sh", "-c", "echo one; sleep 60")
    with trio.fail_after(10):
        until = time.time_ns() + 200_000_000
        lines = await lines_of(box, container_id, follow=True, until_ns=until)
    assert [line.data for line in lines] == [b"one\n"]


async def test_follow_over_a_rotation_loses_nothing(box):
    script = "for i in $(seq 1 60); do echo $i; sleep 0.01; done"
    container_id = await box.run(
        "sh", "-c", script.replace("seq 1 60", "echo " + " ".join(map(str, range(1, 61))))
    )
    seen = []
    with trio.fail_after(20):
        lines = box.rt.logbook.read(container_id, Query(follow=True))
        async with contextlib.aclosing(lines):
            async for line in lines:
                seen.append(int(line.data))
                if len(seen) in {10, 30}:
                    await box.rt.logbook.rotate(container_id)
    assert seen == list(range(1, 61))
    await box.finish(container_id)
    assert (await box.rt.logbook.tidy(container_id, keep=5, compress=True)).is_complete
    assert [each.compressed for each in await box.rt.logbook.files(container_id)] == [True, True]
    again = [int(line.data) for line in await lines_of(box, container_id)]
    assert again == seen
    assert [int(line.data) for line in await lines_of(box, container_id, tail=55)] == seen[5:]


async def test_an_agent_killed_before_it_told_conmon_is_made_good(box):
    """The file was put aside, and conmon knows nothing of it."""
    container_id = await box.run(
        "sh", "-c", "i=0; while [ $i -lt 80 ]; do echo $i; i=$((i+1)); sleep 0.02; done"
    )
    book = box.rt.logbook
    path = book.path(container_id)
    assert generations.rotate(path)
    assert not (await book.tidy(container_id, keep=5, compress=True)).is_complete
    for _ in range(50):
        done = await book.tidy(container_id, keep=5, compress=True)
        if done.is_complete:
            break
        await trio.sleep(0.2)  # as the agent looks; told in between
    assert done.is_complete
    await box.finish(container_id)
    assert [int(line.data) for line in await lines_of(box, container_id)] == list(range(80))
    assert (path.exists(), len(await book.files(container_id))) == (True, 1)


async def test_without_an_inotify_instance_it_is_followed_all_the_same(box, monkeypatch):
    def none_left(_directory):
        raise Exhausted("watch log")

    monkeypatch.setattr(logbook, "Watch", none_left)
    container_id = await box.run("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.03; done")
    with trio.fail_after(10):
        lines = await lines_of(box, container_id, follow=True)
    assert [line.data for line in lines] == [b"1\n", b"2\n", b"3\n"]
