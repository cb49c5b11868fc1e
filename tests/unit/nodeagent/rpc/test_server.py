"""The front door on a real socket."""

import logging
import socket
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from nodeagent.errors import Busy
from nodeagent.rpc.client import open_client
from nodeagent.rpc.errors import ConnectionLost, RpcError
from nodeagent.rpc.protocol import build_request
from nodeagent.rpc.server import Entrance, Limits, Options, build_server, serve_rpc


async def ping(_params, _call):
    return {}


async def start(_params, _call):
    raise Busy("start", name="web")


async def logs(params, call):
    """Send as many items as ``tail`` says, and note each that went."""
    for _ in range(params.tail):
        await call.send(bytes(10_000))
        SENT.append(1)


SENT = []
HANDLERS = {"system.ping": ping, "container.start": start, "container.logs": logs}


@pytest.fixture
async def serve(tmp_path, nursery):
    path = tmp_path / "s"

    async def begin(**options):
        await nursery.start(
            lambda task_status: serve_rpc(
                Entrance(path, group="no-such-group"),
                build_server(HANDLERS, Options(**options)),
                task_status=task_status,
            )
        )
        return f"unix://{path}"

    return begin


async def test_clients_can_connect_once_it_is_started(serve):
    async with open_client(await serve()) as client:
        assert await client.call("system.ping") == {}


async def test_who_watches_is_told_of_every_call(serve):
    seen = []
    host = await serve(observe=lambda *what: seen.append(what))
    async with open_client(host) as client:
        await client.call("system.ping")
        for name in ("container.start", "no.such"):
            with pytest.raises(RpcError):
                await client.call(name, {"name": "web"})
    assert [what[:2] for what in seen] == [("system.ping", "ok"), ("container.start", "busy")]
    assert all(0 <= what[2] < 5 for what in seen)


async def test_changes_are_in_the_audit_log_and_reads_are_not(serve, caplog):
    caplog.set_level(logging.INFO, "nodeagent.audit")
    async with open_client(await serve()) as client:
        await client.call("system.ping")
        with pytest.raises(RpcError):
            await client.call("container.start", {"name": "web"})
    (record,) = [record for record in caplog.records if record.name == "nodeagent.audit"]
    assert (record.method, record.target, record.outcome) == ("container.start", "web", "busy")
    assert isinstance(record.uid, int)


async def test_a_connection_too_many_is_closed_and_a_place_is_free_again(serve):
    host = await serve(limits=Limits(max_connections=1))
    async with open_client(host) as first:
        await first.call("system.ping")
        async with open_client(host) as second:
            with pytest.raises(ConnectionLost):
                await second.call("system.ping")
    with trio.fail_after(5):
        await until_answered(host)


async def until_answered(host):
    while True:
        async with open_client(host) as client:
            try:
                return await client.call("system.ping")
            except ConnectionLost:
                await trio.lowlevel.checkpoint()


async def test_garbage_harms_nobody_else(serve, tmp_path):
    async with open_client(await serve()) as client:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(tmp_path / "s"))
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await client.call("system.ping")
            await trio.lowlevel.wait_readable(raw)
            assert raw.recv(1) == b""
        assert await client.call("system.ping") == {}


async def test_the_socket_file_goes_with_the_server(tmp_path):
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_rpc(
                Entrance(tmp_path / "s", group="no-such-group"),
                build_server(HANDLERS),
                task_status=task_status,
            )
        )
        assert (tmp_path / "s").exists()
        nursery.cancel_scope.cancel()
    assert list(tmp_path.iterdir()) == []


async def test_a_second_server_on_the_same_path_is_refused(serve, tmp_path):
    host = await serve()
    with pytest.raises(Busy):
        Entrance(tmp_path / "s", group="no-such-group")
    async with open_client(host) as client:
        assert await client.call("system.ping") == {}


async def test_clients_that_do_not_read_cost_bounded_memory(serve, tmp_path):
    host = await serve()
    SENT.clear()
    with ExitStack() as stack:
        for _ in range(5):
            raw = stack.enter_context(socket.socket(socket.AF_UNIX))
            raw.connect(str(tmp_path / "s"))
            raw.sendall(build_request(1, "container.logs", {"name": "web", "tail": 100_000}))
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = len(SENT) * 10_000
        assert 0 < held < 5 * 2_000_000  # a socket buffer and an outbox each, of 1 GB asked for
        async with open_client(host) as client:
            assert await client.call("system.ping") == {}


async def test_a_stream_over_the_socket_comes_whole(serve):
    async with open_client(await serve()) as client:
        params = {"name": "web", "tail": 500}
        async with client.stream("container.logs", params) as stream:
            assert sum([len(item) async for item in stream]) == 5_000_000


async def test_the_next_agent_takes_the_clients_that_wait(tmp_path, nursery):
    path = tmp_path / "s"
    host = f"unix://{path}"
    first = Entrance(path, group="no-such-group")
    await nursery.start(begin, first)
    async with open_client(host) as kept:
        await kept.call("system.ping")
        await first.hand_on()
        with pytest.raises(RpcError):
            await kept.call("system.ping")
    answers = []

    async def ask():
        async with open_client(host) as client:
            answers.append(await client.call("system.ping"))

    for _ in range(50):
        nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert answers == []
    with first.listener as listener:
        second = Entrance(path, group="no-such-group", listener=listener.dup())
    await nursery.start(begin, second)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert answers == [{}] * 50


async def begin(entrance, task_status):
    await serve_rpc(entrance, build_server(HANDLERS), task_status=task_status)


def test_a_handed_listener_whose_file_is_gone_is_not_used(tmp_path):
    first = Entrance(tmp_path / "s", group="no-such-group")
    handed = first.listener.dup()
    (tmp_path / "s").unlink()
    second = Entrance(tmp_path / "s", group="no-such-group", listener=handed)
    assert second.listener is not handed
    with first.listener, second.listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
