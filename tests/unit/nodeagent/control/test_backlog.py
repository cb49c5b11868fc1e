import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control import backlog
from nodeagent.control.backlog import MEMORY_BYTES, Backlog
from nodeagent.errors import Exhausted

PIECES = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=40)) | st.none()
)


async def walk(folder, steps):
    """``None`` gets one, the others are put; what came out, in order."""
    out, inside = [], 0
    with Backlog(folder) as queue:
        for step in steps:
            if step is not None:
                await queue.put(*step)
                inside += 1
            elif inside:
                out.append(await queue.get())
                inside -= 1
        queue.close()
        while (piece := await queue.get()) is not None:
            out.append(piece)
    return out


@given(PIECES)
def test_order_is_kept_whether_in_memory_or_on_disk(tmp_path_factory, steps):
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "MEMORY_BYTES", 50)
        patch.setattr(backlog, "READ_BYTES", 64)
        out = trio.run(walk, folder, steps)
    assert out == [step for step in steps if step is not None]


async def test_who_puts_never_waits_and_is_told_when_it_is_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(backlog, "DISK_BYTES", 2 << 20)
    with Backlog(tmp_path) as queue:
        with trio.fail_after(30), pytest.raises(Exhausted, match="too slowly"):
            await flood(queue)
        assert await queue.get() == ("stdout", b"x" * 8192)
    assert list(tmp_path.iterdir()) == []


async def flood(queue):
    while True:
        await queue.put("stdout", b"x" * 8192)


async def test_no_disk_is_an_error_of_the_client(tmp_path):
    with Backlog(tmp_path / "none") as queue:
        await queue.put("stdout", b"x" * MEMORY_BYTES)
        with pytest.raises(Exhausted, match="no room"):
            await queue.put("stdout", b"x")


async def test_who_gets_waits_for_news(tmp_path, nursery):
    with Backlog(tmp_path) as queue:
        got = []

        async def get():
            got.append(await queue.get())
            got.append(await queue.get())

        async with trio.open_nursery() as inner:
            inner.start_soon(get)
            await trio.testing.wait_all_tasks_blocked()
            await queue.put("stderr", b"x")
            await trio.testing.wait_all_tasks_blocked()
            queue.close()
        assert got == [("stderr", b"x"), None]
