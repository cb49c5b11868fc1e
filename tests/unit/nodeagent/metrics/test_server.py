"""HTTP over real sockets on loopback."""

import contextlib
import gzip
from functools import partial

import h11
import pytest
import trio
import trio.testing

from nodeagent.errors import Unavailable
from nodeagent.metrics import server
from nodeagent.metrics.server import serve_metrics

BODY = b"# HELP m M.\n# TYPE m gauge\nm 1\n" * 100


@pytest.fixture
async def start(nursery):
    async def run(render=lambda: BODY, ready=list):
        listeners = await nursery.start(
            partial(serve_metrics, "127.0.0.1", 0, render=render, ready=ready)
        )
        return listeners[0].socket.getsockname()[1]

    return run


async def exchange(stream, raw, *, method=b"GET"):
    """Send raw bytes; status, headers and body of the one answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    await stream.send_all(raw)
    status, headers, body = 0, {}, b""
    with trio.fail_after(5):
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                case h11.Response() as response:
                    status = response.status_code
                    headers = {k.decode(): v.decode() for k, v in response.headers}
                case h11.Data(data=data):
                    body += bytes(data)
                case _:
                    return status, headers, body


async def get(port, path="/metrics", *, method="GET", extra=""):
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        raw = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()
        return await exchange(stream, raw, method=method.encode())


async def test_metrics(start):
    status, headers, body = await get(await start())
    assert (status, body) == (200, BODY)
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in headers


async def test_metrics_rendered_by_an_async_function(start):
    async def render() -> bytes:
        await trio.lowlevel.checkpoint()
        return b"later"

    assert (await get(await start(render)))[2] == b"later"


@pytest.mark.parametrize(
    ("offer", "zipped"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False),
     ("gzip;q=0.0, br", False), ("br", False)],
)  # fmt: skip
async def test_gzip_when_asked(start, offer, zipped):
    port = await start()
    status, headers, body = await get(port, extra=f"Accept-Encoding: {offer}\r\n")
    assert status == 200
    assert ("content-encoding" in headers) == zipped
    assert (gzip.decompress(body) if zipped else body) == BODY


async def test_health_and_readiness(start):
    reasons = ["state is loading", "no runtime"]
    port = await start(ready=lambda: reasons)
    assert (await get(port, "/healthz"))[::2] == (200, b"ok\n")
    assert (await get(port, "/readyz"))[::2] == (503, b"state is loading\nno runtime\n")
    reasons.clear()
    assert (await get(port, "/readyz?verbose"))[::2] == (200, b"ok\n")


async def test_what_is_not_there_or_not_allowed(start):
    port = await start()
    assert (await get(port, "/nowhere"))[0] == 404
    assert (await get(port, "/"))[0] == 404
    status, headers, _ = await get(port, method="DELETE")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    status, _, _ = await get(port, method="POST", extra="Content-Length: 100000\r\n")
    assert status == 405


async def test_head_has_the_length_and_no_body(start):
    status, headers, body = await get(await start(), method="HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(BODY)), b"")


async def test_a_connection_is_kept_for_the_next_scrape(start):
    port = await start()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for _ in range(3):
            raw = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
            assert (await exchange(stream, raw))[2] == BODY


@pytest.mark.parametrize(
    "raw", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000]
)  # fmt: skip
async def test_garbage_gets_a_4xx_and_the_server_lives(start, raw):
    port = await start()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        status, _, _ = await exchange(stream, raw)
        assert 400 <= status < 500
    assert (await get(port))[0] == 200


async def test_a_failing_render_is_500_and_logged_and_the_server_lives(start, caplog):
    broken = [True]

    def render() -> bytes:
        if broken:
            raise KeyError("planted")
        return b"fine"

    port = await start(render)
    assert (await get(port))[0] == 500
    assert "planted" in caplog.text
    broken.clear()
    assert (await get(port))[2] == b"fine"


async def test_a_client_that_sends_slowly_is_dropped(start, autojump_clock):
    port = await start()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        began = trio.current_time()
        await stream.send_all(b"GET /metrics HT")
        assert await stream.receive_some() == b""
        assert trio.current_time() - began <= server.REQUEST_S + 1


async def test_a_client_that_does_not_read_is_dropped(start, autojump_clock):
    port = await start(lambda: b"x" * (64 << 20))
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.sleep(server.RESPONSE_S + 1)
        received = 0
        with contextlib.suppress(trio.BrokenResourceError):
            while chunk := await stream.receive_some(1 << 20):
                received += len(chunk)
        assert received < 64 << 20


async def test_connections_are_bounded_and_freed(start):
    port = await start()
    idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(server.CONNECTIONS_MAX)]
    await trio.testing.wait_all_tasks_blocked()
    async with await trio.open_tcp_stream("127.0.0.1", port) as refused:
        with trio.fail_after(5):
            assert await refused.receive_some() == b""
    for stream in idle:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert (await get(port))[0] == 200


async def test_a_busy_address_is_said(start):
    port = await start()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        await serve_metrics("127.0.0.1", port, render=lambda: b"", ready=list)
