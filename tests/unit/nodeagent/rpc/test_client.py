"""The trio client, against a real connection object over memory."""

import pytest
import trio
import trio.testing

from nodeagent.rpc.client import open_client, open_client_on
from nodeagent.rpc.errors import ConnectionLost, RpcError
from nodeagent.rpc.schema.container import ContainerLogs, WaitResult

LOGS = {"name": "web"}


async def logs(_params, call):
    for number in range(100):
        await call.send(number)
    return {}


async def echo(_params, call):
    total = 0
    while (data := await call.receive_input()) is not None:
        await call.send(data)
        total += len(data)
    return {"exit_code": total % 256}


async def wait(_params, _call):
    await trio.sleep_forever()


HANDLERS = {"container.logs": logs, "container.exec": echo, "container.wait": wait}
EXEC = {"name": "web", "cmd": ["cat"], "stdin": True}


@pytest.fixture
async def opened(serving):
    async with serving(HANDLERS) as wire, open_client_on(wire.stream) as client:
        yield client, wire


async def test_a_call_and_its_error(opened):
    client, _ = opened
    assert await client.call("system.ping") == {}
    with pytest.raises(RpcError, match="unknown method") as caught:
        await client.call("no.such")
    assert caught.value.kind == "missing"


async def test_calls_from_many_tasks(opened, nursery):
    client, _ = opened
    for _ in range(50):
        nursery.start_soon(client.call, "system.ping")


@pytest.mark.parametrize("window", [0, 1, 7, 1000])
async def test_a_stream_gives_every_item_in_order_and_the_result(opened, window):
    client, _ = opened
    async with client.stream("container.logs", ContainerLogs(name="web", window=window)) as stream:
        assert [item async for item in stream] == list(range(100))
        assert await stream.result() == {}


async def test_the_result_without_reading_items(opened):
    client, _ = opened
    async with client.stream("container.logs", {**LOGS, "window": 3}) as stream:
        assert await stream.result() == {}


async def test_input_larger_than_the_credit(opened, nursery):
    client, _ = opened
    data = bytes(range(256)) * 4000

    async def send(stream):
        await stream.send_input(data)
        await stream.send_input(None)

    async with client.stream("container.exec", EXEC) as stream:
        nursery.start_soon(send, stream)
        got = b"".join([item async for item in stream])
        assert got == data
        assert await stream.result_as(WaitResult) == WaitResult(exit_code=0)


async def test_cancelling_the_caller_cancels_the_call(opened):
    client, wire = opened
    with trio.move_on_after(0.01):
        await client.call("container.wait", LOGS)
    assert await client.call("system.ping") == {}
    assert ("container.wait", "cancelled") in [(d.method, d.outcome) for d in wire.done]


async def test_asking_to_cancel_gives_the_answer(opened):
    client, _ = opened
    async with client.stream("container.wait", LOGS) as stream:
        await stream.cancel()
        with pytest.raises(RpcError) as caught:
            await stream.result()
    assert caught.value.kind == "cancelled"


async def test_input_of_an_ended_call_is_dropped(opened):
    client, _ = opened
    async with client.stream("system.ping") as stream:
        await stream.result()
        with trio.fail_after(1):
            await stream.send_input(bytes(10**6))


async def test_a_lost_agent_ends_waiting_and_later_calls():
    near, far = trio.testing.memory_stream_pair()
    async with open_client_on(near) as client, trio.open_nursery() as nursery:
        nursery.start_soon(expect_lost, client)
        await trio.testing.wait_all_tasks_blocked()
        await far.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await expect_lost(client)


async def expect_lost(client):
    with pytest.raises(ConnectionLost) as caught:
        await client.call("system.ping")
    assert caught.value.kind == "unavailable"


async def test_no_agent_is_told(tmp_path):
    with pytest.raises(ConnectionLost, match="cannot connect"):
        async with open_client(f"unix://{tmp_path}/none"):
            pass


async def test_an_error_in_the_block_comes_out_as_it_is(serving):
    async with serving() as wire:
        with pytest.raises(ZeroDivisionError):
            async with open_client_on(wire.stream):
                raise ZeroDivisionError


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"", "closed the connection"), (b"HTTP/1.1 400 \r\n\r\n", "does not speak msgpack-rpc")],
)
async def test_a_strange_agent_is_told(answer, says):
    near, far = trio.testing.memory_stream_pair()

    async def serve():
        await far.receive_some()
        await far.send_all(answer)
        await far.aclose()

    async with open_client_on(near) as client, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ConnectionLost, match=says):
            await client.call("system.ping")


async def test_an_agent_that_vanishes_while_we_send_ends_the_call(nursery):
    near, far = trio.testing.lockstep_stream_pair()
    async with open_client_on(near) as client, client.stream("image.load") as stream:
        nursery.start_soon(stream.send_input, bytes(100_000))
        await trio.testing.wait_all_tasks_blocked()
        await far.aclose()
        with pytest.raises(ConnectionLost):
            await stream.result()
