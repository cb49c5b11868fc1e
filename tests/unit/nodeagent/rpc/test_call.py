"""What a handler gets: input, sizes, credit."""

import msgspec
import trio
import trio.testing

from nodeagent.rpc import streams
from nodeagent.rpc.auth import Peer
from nodeagent.rpc.call import Call
from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.outbox import Outbox
from nodeagent.rpc.protocol import Notify, build_notify, build_request

unpack = msgspec.msgpack.decode
LOGS = {"name": "web"}
PEER = Peer(uid=0, gid=0, pid=1)


def make_call(**options):
    outbox = Outbox(trio.testing.memory_stream_pair()[0])
    return Call(7, PEER, outbox, **{"takes_input": True, **options})


async def test_input_waits_and_comes_in_order(nursery):
    call, got = make_call(), []

    async def read():
        while (data := await call.receive_input()) is not None:
            got.append(data)

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert got == []
    for piece in (b"a", b"b", None):
        call.on_input(piece)
    await trio.testing.wait_all_tasks_blocked()
    assert got == [b"a", b"b"]
    assert await call.receive_input() is None


async def test_input_and_sizes_wake_only_who_waits_for_them(nursery):
    call, got = make_call(), []

    async def note(receive):
        got.append(await receive())

    nursery.start_soon(note, call.receive_input)
    nursery.start_soon(note, call.receive_resize)
    await trio.testing.wait_all_tasks_blocked()
    call.on_resize(24, 80)
    await trio.testing.wait_all_tasks_blocked()
    assert got == [(24, 80)]
    call.on_input(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert got == [(24, 80), b"x"]


async def test_two_senders_share_a_window(nursery):
    call, sent = make_call(), []
    call.open_window(3)

    async def send(letter):
        for _ in range(4):
            await call.send(letter)
            sent.append(letter)

    nursery.start_soon(send, "a")
    nursery.start_soon(send, "b")
    await trio.testing.wait_all_tasks_blocked()
    assert len(sent) == 3
    call.on_ack(3)
    await trio.testing.wait_all_tasks_blocked()
    assert len(sent) == 6
    nursery.cancel_scope.cancel()


async def test_input_nobody_may_send_fails_the_call():
    call = make_call(takes_input=False)
    call.on_input(b"x")
    assert isinstance(call.failure, RpcError)
    assert call.scope.cancel_called


async def test_the_end_of_input_is_no_failure():
    call = make_call(takes_input=False)
    call.on_input(None)
    assert call.failure is None


# --- over a connection ---


async def test_items_come_before_the_response(serving):
    async def logs(_params, call):
        for number in range(5):
            await call.send(number)
        return "end"

    async with serving({"container.logs": logs}) as wire:
        await wire.send(build_request(1, "container.logs", LOGS))
        events = [await wire.receive() for _ in range(5)]
        assert [unpack(event.args) for event in events] == [[1, n] for n in range(5)]
        assert await wire.answer() == (1, None, "end")


async def test_a_window_holds_the_server_back(serving):
    sent = []

    async def logs(_params, call):
        for number in range(10):
            await call.send(number)
            sent.append(number)

    async with serving({"container.logs": logs}) as wire:
        await wire.send(build_request(1, "container.logs", {**LOGS, "window": 3}))
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 3
        assert await wire.ping()
        await wire.send(build_notify(streams.ACK, 1, 2))
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 5
        await wire.send(build_notify(streams.ACK, 1, 1000))
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == 8


async def test_a_client_that_does_not_read_holds_the_server_back(serving):
    sent = []

    async def logs(_params, call):
        for _ in range(10_000):
            await call.send(bytes(10_000))
            sent.append(1)

    pair = trio.testing.lockstep_stream_pair
    async with serving({"container.logs": logs}, make_pair=pair) as wire:
        await wire.send(build_request(1, "container.logs", LOGS))
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < len(sent) < 100


async def test_input_is_handed_on_and_credit_given_back(serving):
    got = []

    async def exec_(_params, call):
        while (data := await call.receive_input()) is not None:
            got.append(data)
        assert await call.receive_input() is None
        return {"exit_code": 0}

    async with serving({"container.exec": exec_}) as wire:
        await wire.send(
            build_request(1, "container.exec", {"name": "a", "cmd": ["x"]}),
            build_notify(streams.INPUT, 1, b"a" * 200_000),
        )
        credit = await wire.receive()
        assert isinstance(credit, Notify)
        assert (credit.method, unpack(credit.args)) == (streams.CREDIT, [1, 200_000])
        await wire.send(
            build_notify(streams.INPUT, 1, b""),
            build_notify(streams.INPUT, 1, b"b"),
            build_notify(streams.INPUT, 1, None),
            build_notify(streams.INPUT, 1, b"after the end"),
        )
        assert await wire.answer() == (1, None, {"exit_code": 0})
    assert got == [b"a" * 200_000, b"b"]


async def test_input_beyond_the_credit_fails_that_call_only(serving):
    async def exec_(_params, _call):
        await trio.sleep_forever()

    async with serving({"container.exec": exec_}) as wire:
        await wire.send(build_request(1, "container.exec", {"name": "a", "cmd": ["x"]}))
        for _ in range(streams.INPUT_CREDIT_BYTES // 65536):
            await wire.send(build_notify(streams.INPUT, 1, bytes(65536)))
        assert await wire.ping()
        await wire.send(build_notify(streams.INPUT, 1, b"x"))
        assert await wire.answer() == (1, "invalid", None)
        assert await wire.ping()


async def test_input_for_a_call_that_takes_none_fails_it(serving):
    async def wait(_params, _call):
        await trio.sleep_forever()

    async with serving({"container.wait": wait}) as wire:
        await wire.send(
            build_request(1, "container.wait", {"name": "a"}), build_notify(streams.INPUT, 1, b"x")
        )
        assert await wire.answer() == (1, "invalid", None)


async def test_only_the_newest_terminal_size_counts(serving):
    gate, sizes = trio.Event(), []

    async def exec_(_params, call):
        await gate.wait()
        sizes.append(await call.receive_resize())
        sizes.append(await call.receive_resize())

    async with serving({"container.exec": exec_}) as wire:
        await wire.send(
            build_request(1, "container.exec", {"name": "a", "cmd": ["x"]}),
            build_notify(streams.RESIZE, 1, 1, 2),
            build_notify(streams.RESIZE, 1, 24, 80),
        )
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        await wire.send(build_notify(streams.RESIZE, 1, 25, 90))
        assert await wire.answer() == (1, None, None)
    assert sizes == [(24, 80), (25, 90)]
