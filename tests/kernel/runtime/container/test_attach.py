import contextlib

import pytest
import trio

from runtime.errors import Missing


async def collect(session):
    """All output until the end, by stream."""
    found = {"stdout": b"", "stderr": b""}
    while (piece := await session.receive()) is not None:
        found[piece[0]] += piece[1]
    return found


async def read_until(session, needle):
    seen = b""
    while needle not in seen:
        piece = await session.receive()
        assert piece is not None, seen
        seen += piece[1]
    return seen


async def test_streams_are_apart_and_nothing_is_lost(box):
    spec = box.spec("sh", "-c", "echo out; echo err >&2; echo more")
    await box.rt.create(spec)
    with trio.fail_after(10):
        async with box.rt.attach(spec.id) as session:
            await box.rt.start(spec.id)
            assert await collect(session) == {"stdout": b"out\nmore\n", "stderr": b"err\n"}


async def test_stdin_is_binary_safe_and_ends(box):
    data = bytes(range(256)) * 1200
    spec = box.spec("cat", stdin=True)
    await box.rt.create(spec)
    with trio.fail_after(20):
        async with box.rt.attach(spec.id) as session:
            await box.rt.start(spec.id)
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _():
                    await session.send(data)
                    await session.send_eof()

                assert (await collect(session))["stdout"] == data
    assert (await box.finish(spec.id)).code == 0


async def test_kept_stdin_survives_a_client(box):
    spec = box.spec("cat", stdin=True, stdin_once=False)
    await box.rt.create(spec)
    await box.rt.start(spec.id)
    with trio.fail_after(10):
        for word in (b"one\n", b"two\n"):
            async with box.rt.attach(spec.id) as session:
                await session.send(word)
                assert await read_until(session, word) == word


async def test_client_that_leaves_does_not_stop_it(box):
    spec = box.spec("sh", "-c", "sleep 0.2; echo after; exit 6")
    await box.rt.create(spec)
    async with box.rt.attach(spec.id):
        await box.rt.start(spec.id)
    assert (await box.finish(spec.id)).code == 6
    assert await box.log(spec.id) == b"after\n"


async def test_two_clients_hear_the_same(box):
    spec = box.spec("sh", "-c", "read x; echo $x", stdin=True)
    await box.rt.create(spec)
    with trio.fail_after(10):
        async with box.rt.attach(spec.id) as one, box.rt.attach(spec.id) as two:
            await box.rt.start(spec.id)
            # by then conmon has let both in
            await two.send(b"both\n")
            assert (await collect(one))["stdout"] == (await collect(two))["stdout"] == b"both\n"


async def test_terminal_and_its_size(box):
    # the size comes to conmon by another way than the input, so it may come after it
    wait = 'until [ "$(stty size 2>/dev/null)" = "{}" ]; do sleep 0.02; done; stty size'
    script = f"{wait.format('33 99')}; read x; {wait.format('44 111')}"
    spec = box.spec("sh", "-c", script, tty=True, stdin=True)
    await box.rt.create(spec)
    with trio.fail_after(10):
        async with box.rt.attach(spec.id) as session:
            await session.resize(33, 99)
            await box.rt.start(spec.id)
            assert b"33 99" in await read_until(session, b"\n")
            await session.resize(44, 111)
            await session.send(b"\n")
            assert b"44 111" in (await collect(session))["stdout"]


async def test_ended_container_cannot_be_attached(box):
    container_id = await box.run("true")
    await box.finish(container_id)
    with pytest.raises(Missing):
        async with box.rt.attach(container_id):
            pass


async def test_slow_client_loses_nothing(box):
    spec = box.spec("sh", "-c", "yes 0123456789 | head -c 2000000")
    await box.rt.create(spec)
    with trio.fail_after(20):
        async with box.rt.attach(spec.id) as session:
            await box.rt.start(spec.id)
            await trio.sleep(0.2)
            assert len((await collect(session))["stdout"]) == 2_000_000


async def test_cancelled_receive_is_harmless(box):
    container_id = await box.run("sh", "-c", "sleep 0.2; echo late")
    with trio.fail_after(10):
        async with box.rt.attach(container_id) as session:
            with trio.move_on_after(0.02):
                await session.receive()
            with contextlib.suppress(trio.Cancelled):
                assert await session.receive() == ("stdout", b"late\n")
