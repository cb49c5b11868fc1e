"""The blocking client, against a server on a real socket; each side has a thread."""

import os
import socket
import sys

import pytest
import trio

from nodeagent.rpc.errors import ConnectionLost, RpcError
from nodeagent.rpc.schema.container import WaitResult
from nodeagent.rpc.server import Entrance, build_server, serve_rpc
from nodeagent.rpc.sync_client import open_sync_client

EXEC = {"name": "web", "cmd": ["cat"], "stdin": True}


async def ping(_params, _call):
    return {}


async def logs(_params, call):
    for number in range(50):
        await call.send(number)
    return {}


async def echo(_params, call):
    await call.send(b"")
    total = 0
    while (data := await call.receive_input()) is not None:
        await call.send(data)
        total += len(data)
    return {"exit_code": total % 256}


async def wait(_params, _call):
    await trio.sleep_forever()


async def sizes(_params, call):
    await call.send("ready")
    return await call.receive_resize()


HANDLERS = {
    "system.ping": ping,
    "container.logs": logs,
    "container.exec": echo,
    "container.attach": sizes,
    "container.wait": wait,
}


@pytest.fixture
async def run(tmp_path, nursery):
    """Run a blocking function with a client, in a thread."""
    path = tmp_path / "s"
    await nursery.start(
        lambda task_status: serve_rpc(
            Entrance(path, group="no-such-group"), build_server(HANDLERS), task_status=task_status
        )
    )

    def use(function):
        with open_sync_client(f"unix://{path}") as client:
            return function(client)

    async def run(function):
        with trio.fail_after(20):
            return await trio.to_thread.run_sync(use, function)

    return run


async def test_a_call_and_its_error(run):
    def use(client):
        assert client.call("system.ping") == {}
        with pytest.raises(RpcError) as caught:
            client.call("system.ping", {"a": 1})
        assert (caught.value.kind, caught.value.fields) == ("invalid", {"field": "params.a"})
        assert client.call("system.ping") == {}

    await run(use)


@pytest.mark.parametrize("window", [0, 1, 7])
async def test_a_stream_gives_every_item_in_order_and_the_result(run, window):
    def use(client):
        with client.stream("container.logs", {"name": "web", "window": window}) as stream:
            assert list(stream) == list(range(50))
            assert stream.result() == {}

    await run(use)


async def test_leaving_a_stream_cancels_it_and_the_connection_goes_on(run):
    def use(client):
        with client.stream("container.logs", {"name": "web", "window": 1}) as stream:
            assert next(iter(stream)) == 0
        with client.stream("container.wait", {"name": "web"}):
            pass
        assert client.call("system.ping") == {}

    await run(use)


async def test_a_cancelled_call_says_so(run):
    def use(client):
        with client.stream("container.wait", {"name": "web"}) as stream:
            stream.cancel()
            with pytest.raises(RpcError) as caught:
                stream.result()
            assert caught.value.kind == "cancelled"

    await run(use)


async def test_interact_passes_a_file_through(run, tmp_path):
    data = os.urandom(1_000_001)
    (tmp_path / "input").write_bytes(data)

    def use(client):
        got = []
        with (
            (tmp_path / "input").open("rb") as file,
            client.stream("container.exec", EXEC) as stream,
        ):
            result = stream.interact(got.append, stdin_fd=file.fileno())
        return b"".join(got), result

    assert await run(use) == (data, {"exit_code": len(data) % 256})


async def test_interact_ends_when_the_filter_says_so(run):
    def use(client):
        reader, writer = os.pipe()
        got = []
        with client.stream("container.exec", EXEC) as stream:
            os.write(writer, b"hello")

            def on_item(item):
                got.append(item)
                if item:
                    os.write(writer, b"\x10\x11")

            def stop_at_keys(data):
                return None if data == b"\x10\x11" else data.upper()

            assert stream.interact(on_item, stdin_fd=reader, filter_input=stop_at_keys) is None
        os.close(reader)
        os.close(writer)
        assert got == [b"", b"HELLO"]
        assert client.call("system.ping") == {}

    await run(use)


async def test_a_wake_may_resize_and_call(run):
    def use(client):
        reader, writer = os.pipe()
        with client.stream("container.attach", {"name": "web"}) as stream:

            def on_wake():
                os.read(reader, 1)
                assert client.call("system.ping") == {}
                stream.resize(24, 80)

            result = stream.interact(lambda _: os.write(writer, b"x"), wakes={reader: on_wake})
        os.close(reader)
        os.close(writer)
        return result

    assert await run(use) == [24, 80]


async def test_a_typed_result(run):
    def use(client):
        with client.stream("container.exec", EXEC) as stream:
            stream.send_input(b"abc")
            stream.send_input(None)
            return stream.result_as(WaitResult)

    assert await run(use) == WaitResult(exit_code=3)


def test_no_agent_is_told(tmp_path):
    with (
        pytest.raises(ConnectionLost, match="is it running"),
        open_sync_client(f"unix://{tmp_path}/none"),
    ):
        pass


async def test_it_needs_no_trio():

    code = "import sys, nodeagent.rpc.sync_client; sys.exit('trio' in sys.modules)"
    done = await trio.run_process([sys.executable, "-c", code])
    assert done.returncode == 0


def serve_raw(path, *answers):
    """Be an agent of a few fixed bytes, in a thread: after each request the next answer."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run():
        with listener, listener.accept()[0] as sock:
            for answer in answers:
                sock.recv(65536)
                sock.sendall(answer)

    return run


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([b""], "closed the connection"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "does not speak msgpack-rpc"),
        ([b"\x94\x01"], "closed the connection"),
        ([b"\x94\x01\xcd\x01\x00\xc0\xc0"], "closed the connection"),  # an answer to another call
    ],
)
async def test_a_lost_or_strange_agent_is_told(tmp_path, nursery, answers, says):
    nursery.start_soon(trio.to_thread.run_sync, serve_raw(tmp_path / "s", *answers))

    def use():
        with open_sync_client(f"unix://{tmp_path}/s") as client:
            with pytest.raises(ConnectionLost, match=says) as caught:
                client.call("system.ping")
            return caught.value.kind

    assert await trio.to_thread.run_sync(use) == "unavailable"


async def test_leaving_a_stream_of_a_lost_agent_hides_nothing(tmp_path, nursery):
    nursery.start_soon(trio.to_thread.run_sync, serve_raw(tmp_path / "s", b""))

    def use():
        with (
            open_sync_client(f"unix://{tmp_path}/s") as client,
            pytest.raises(ConnectionLost),
            client.stream("container.logs", {"name": "web"}) as stream,
        ):
            stream.interact(print)

    await trio.to_thread.run_sync(use)


async def test_items_as_values_of_a_type(run):
    def use(client):
        with client.stream("container.logs", {"name": "web"}) as stream:
            assert list(stream.items_as(int)) == list(range(50))
        with (
            client.stream("container.logs", {"name": "web"}) as stream,
            pytest.raises(RpcError, match="not understood"),
        ):
            list(stream.items_as(str))
        assert client.call("system.ping") == {}

    await run(use)


async def test_input_of_an_ended_call_is_dropped(run):
    def use(client):
        with client.stream("system.ping") as stream:
            stream.result()
            stream.send_input(bytes(10**6))
        assert client.call("system.ping") == {}

    await run(use)
