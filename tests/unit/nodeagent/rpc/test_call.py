"""What a handler gets: input, sizes, credit."""

import trio.testing

from nodeagent.rpc.auth import Peer
from nodeagent.rpc.call import Call
from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.outbox import Outbox

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
