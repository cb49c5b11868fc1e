import pytest
import trio

from runtime.container.gate import Gate
from runtime.errors import Missing


def gate_of(box, container_id):
    return box.rt._gate(container_id, box.rt._record(container_id))


async def test_gate_is_shut_until_started(box):
    spec = box.spec("sleep", "60")
    await box.rt.create(spec)
    gate = gate_of(box, spec.id)
    assert gate.is_shut()
    assert await box.log(spec.id) == b""
    await box.rt.start(spec.id)
    assert not gate.is_shut()
    with pytest.raises(Missing):
        await box.rt.start(spec.id)


async def test_killed_between_opening_and_unlinking(box):
    """The container runs, and a new agent sees that it does although the fifo is still there."""
    spec = box.spec("sleep", "60")
    await box.rt.create(spec)
    gate = gate_of(box, spec.id)
    other = gate.fifo.with_name("kept")
    other.hardlink_to(gate.fifo)
    await box.rt.start(spec.id)
    other.rename(gate.fifo)
    with trio.fail_after(5):
        while gate.is_shut():  # noqa: ASYNC110  an exec has no event
            await trio.sleep(0.001)
    assert [found.state for found in await box.rt.scan()] == ["running"]
    session = box.rt.exec(spec.id, spec.process, privileged=False)
    async with session as running:
        assert running.pid in await box.rt.top(spec.id)


async def test_container_that_ended_before_its_start(box):
    spec = box.spec("sleep", "60")
    await box.rt.create(spec)
    gate = gate_of(box, spec.id)
    await box.rt.kill(spec.id, 9)
    await box.finish(spec.id)
    with trio.fail_after(5):
        with pytest.raises(Missing):
            await box.rt.start(spec.id)
        if box.runtime == "crun":
            with pytest.raises(Missing):
                await gate.open()


def test_no_fifo_is_an_open_gate(tmp_path):
    assert not Gate(fifo=tmp_path / "none", runtime="crun", pid=1, ticks=1).is_shut()
