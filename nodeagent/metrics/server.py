"""HTTP for those who watch: /metrics, /healthz, /readyz. h11 on trio.

A client that is slow to ask or to read is dropped, and there are never more than a few at once:
whoever can reach the port cannot tie up the agent.
"""

import gzip
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import h11
import trio

from nodeagent.errors import Unavailable
from nodeagent.metrics.exposition import CONTENT_TYPE

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 32  # guess: two Prometheus servers and some people
REQUEST_S: Final = 10.0  # to send the rest of a request once it began
IDLE_S: Final = 120.0  # between two scrapes on one connection
RESPONSE_S: Final = 30.0  # to read an answer
HEADER_MAX_BYTES: Final = 16 << 10
CHUNK_BYTES: Final = 64 << 10
GZIP_LEVEL: Final = 1  # 0.8 ms for 700 KB, and already 25 times smaller
PLAIN: Final = "text/plain; charset=utf-8"

Render = Callable[[], bytes | Awaitable[bytes]]
Ready = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response before HTTP: status, body and its type."""

    status: int
    body: bytes
    type: str = PLAIN


@dataclass(slots=True)
class _Site:
    """What is served, and to how many at the moment."""

    render: Render
    ready: Ready
    clients: int = 0


async def serve_metrics(
    host: str,
    port: int,
    *,
    render: Render,
    ready: Ready,
    listener: socket.socket | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started once the port is bound.

    Args:
        port: 0 = any; the listeners handed to ``task_status`` tell which.
        render: the text of /metrics.
        ready: the reasons why the agent is not ready; none = it is.
        listener: of a former agent, at this address; None: it is bound anew.

    Raises:
        Unavailable: the address cannot be bound.
    """
    site = _Site(render, ready)
    try:
        if listener is None:
            listeners = await trio.open_tcp_listeners(port, host=host)
        else:
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    except OSError as exc:
        raise Unavailable(
            "could not listen for metrics", address=f"{host}:{port}", reason=exc.strerror
        ) from exc
    await trio.serve_listeners(partial(_client, site), listeners, task_status=task_status)


async def _client(site: _Site, stream: trio.SocketStream) -> None:
    with _counted(site) as admitted:
        try:
            if admitted:
                await _converse(site, stream)
        except (trio.BrokenResourceError, trio.TooSlowError, h11.ProtocolError):
            return  # the client's affair: gone, slow or not speaking HTTP
        finally:
            await trio.aclose_forcefully(stream)


@contextmanager
def _counted(site: _Site) -> Iterator[bool]:
    site.clients += 1
    try:
        yield site.clients <= CONNECTIONS_MAX
    finally:
        site.clients -= 1


async def _converse(site: _Site, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_MAX_BYTES)
    while True:
        try:
            request = await _read_request(connection, stream)
        except h11.RemoteProtocolError as exc:
            answer = Answer(exc.error_status_hint, b"bad request\n")
            await _send(connection, stream, answer, ["Connection: close"], head=False)
            return
        if request is None:
            return
        answer = await _answer(site, request)
        headers = []
        if answer.type == CONTENT_TYPE and _wants_gzip(request):
            answer = Answer(answer.status, gzip.compress(answer.body, GZIP_LEVEL), answer.type)
            headers.append("Content-Encoding: gzip")
        if answer.status == 405:
            headers.append("Allow: GET, HEAD")
        await _send(connection, stream, answer, headers, head=request.method == b"HEAD")
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _read_request(
    connection: h11.Connection, stream: trio.SocketStream
) -> h11.Request | None:
    """The head of the next request; None when the client is done."""
    with trio.fail_after(IDLE_S) as deadline:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                connection.next_event()  # its end, unless it has a body: then we answer and close
                return event
            if event is not h11.NEED_DATA:
                return None
            connection.receive_data(await stream.receive_some(CHUNK_BYTES))
            deadline.deadline = min(deadline.deadline, trio.current_time() + REQUEST_S)


async def _answer(site: _Site, request: h11.Request) -> Answer:
    if request.method not in {b"GET", b"HEAD"}:
        return Answer(405, b"only GET and HEAD\n")
    path = urlsplit(request.target.decode("ascii", errors="replace")).path
    if path == "/metrics":
        return await _metrics(site)
    if path == "/healthz":
        return Answer(200, b"ok\n")
    if path == "/readyz":
        reasons = site.ready()
        text = "".join(f"{reason}\n" for reason in reasons) or "ok\n"
        return Answer(503 if reasons else 200, text.encode(errors="replace"))
    return Answer(404, b"there is /metrics, /healthz and /readyz\n")


async def _metrics(site: _Site) -> Answer:
    try:
        text = site.render()
        body = text if isinstance(text, bytes) else await text
    except Exception:
        log.exception("metrics could not be rendered")  # a scrape must not end the agent
        return Answer(500, b"metrics could not be rendered; see the agent's log\n")
    return Answer(200, body, CONTENT_TYPE)


def _wants_gzip(request: h11.Request) -> bool:
    offers = b",".join(value for name, value in request.headers if name == b"accept-encoding")
    for offer in offers.decode("latin-1").lower().split(","):
        coding, _, quality = offer.replace(" ", "").partition(";")
        if coding in {"gzip", "*"}:
            return quality.strip("q=0.") != "" or quality == ""
    return False


async def _send(
    connection: h11.Connection,
    stream: trio.SocketStream,
    answer: Answer,
    headers: Sequence[str],
    *,
    head: bool,
) -> None:
    extra = [tuple(header.split(": ", 1)) for header in headers]
    response = h11.Response(
        status_code=answer.status,
        headers=[
            ("Content-Type", answer.type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *((name, value) for name, value in extra),
        ],
    )
    raw = connection.send(response) or b""
    if not head:
        raw += connection.send(h11.Data(data=answer.body)) or b""
    raw += connection.send(h11.EndOfMessage()) or b""
    with trio.fail_after(RESPONSE_S):
        await stream.send_all(raw)
