"""A registry that can lie, break and dawdle: h11 on trio, in the test's own loop."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import h11
import trio

from tests.fakes.registry_images import BuiltImage

Answer = tuple[int, dict[str, str], bytes]


@dataclass(kw_only=True)
class FakeRegistry:
    """What it serves, what goes wrong, and what it was asked."""

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # by tag and digest
    blobs: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)  # per request: bytes before the cut
    failures: list[int] = field(default_factory=list)  # statuses of the next answers
    ranges: bool = True
    chunked: bool = False
    endless: str = ""  # a part of paths whose answers never end
    interim: bool = False  # 103 for ever instead of an answer
    token: str = ""  # if set, bearer authentication is asked for
    override: Callable[[str, dict[str, str]], Answer | None] = lambda _path, _headers: None
    gate: Callable[[str], "object"] | None = None  # awaited before a blob's body
    port: int = 0
    asked: list[str] = field(default_factory=list)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    connections: int = 0

    def add(self, tag: str, image: BuiltImage, kind: str = "") -> None:
        document = (image.manifest, kind or image.media_type)
        self.manifests |= {tag: document, image.digest: document}
        self.blobs |= image.blobs

    def name(self, tag: str = "1", repository: str = "team/app") -> str:
        return f"127.0.0.1:{self.port}/{repository}:{tag}"

    def requests(self, part: str) -> int:
        return sum(part in path for path in self.asked)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        http = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while await self._one(stream, http):
                    http.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # the client went away, or spoke TLS

    async def _request(self, stream: trio.SocketStream, http: h11.Connection) -> h11.Request | None:
        """The next request, read to its end; None if the client hung up."""
        request = None
        while (event := http.next_event()) is not h11.PAUSED:
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.ConnectionClosed):
                return None
            elif isinstance(event, h11.EndOfMessage):
                break
        return request

    async def _one(self, stream: trio.SocketStream, http: h11.Connection) -> bool:
        request = await self._request(stream, http)
        if request is None:
            return False
        headers = {key.decode(): value.decode() for key, value in request.headers}
        path = request.target.decode()
        self.asked.append(path)
        status, extra, body = self._answer(path, headers)
        digest = path.rpartition("/")[2]
        if self.gate is not None and "/blobs/" in path and status < 300:
            await self.gate(digest)
        cut = self.cuts[digest].pop(0) if status < 300 and self.cuts.get(digest) else None
        if self.interim:
            await self._hint(stream, http)
        is_endless = bool(self.endless) and self.endless in path
        if not self.chunked and not is_endless:
            extra.setdefault("content-length", str(len(body)))
        await stream.send_all(
            http.send(h11.Response(status_code=status, headers=list(extra.items())))
        )
        if is_endless:
            await self._pour(stream, http, digest)
        sent = body if cut is None else body[:cut]
        self.sent_bytes[digest] += len(sent)
        for start in range(0, len(sent), 65536):
            await stream.send_all(http.send(h11.Data(data=sent[start : start + 65536])))
        if cut is not None:
            return False
        await stream.send_all(http.send(h11.EndOfMessage()))
        return http.our_state is h11.DONE and http.their_state is h11.DONE

    async def _hint(self, stream: trio.SocketStream, http: h11.Connection) -> NoReturn:
        early = h11.InformationalResponse(status_code=103, headers=[])
        while True:
            await stream.send_all(http.send(early))

    async def _pour(self, stream: trio.SocketStream, http: h11.Connection, digest: str) -> NoReturn:
        while True:
            self.sent_bytes[digest] += 65536
            await stream.send_all(http.send(h11.Data(data=b" " * 65536)))

    def _answer(self, path: str, headers: dict[str, str]) -> Answer:
        return self.override(path, headers) or self._guarded(path, headers)

    def _guarded(self, path: str, headers: dict[str, str]) -> Answer:
        if path.startswith("/token"):
            return 200, {}, json.dumps({"token": self.token}).encode()
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            realm = f"http://127.0.0.1:{self.port}/token"
            return 401, {"www-authenticate": f'Bearer realm="{realm}",service="fake"'}, b"{}"
        if self.failures:
            return self.failures.pop(0), {}, b"broken"
        return self._document(path, headers)

    def _document(self, path: str, headers: dict[str, str]) -> Answer:
        name = path.rpartition("/")[2]
        if "/manifests/" in path and name in self.manifests:
            body, kind = self.manifests[name]
            return 200, {"content-type": kind}, body
        if "/blobs/" in path and name in self.blobs:
            return self._blob(self.blobs[name], headers.get("range", ""))
        return 404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'

    def _blob(self, body: bytes, span: str) -> Answer:
        if not span or not self.ranges:
            return 200, {}, body
        first = int(span.removeprefix("bytes=").partition("-")[0])
        where = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return 206, {"content-range": where}, body[first:]


@asynccontextmanager
async def fake_registry(**options: object) -> AsyncIterator[FakeRegistry]:
    """Serve on a loopback port until the block ends."""
    registry = FakeRegistry(**options)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        registry.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, registry.serve, listeners)
        yield registry
        nursery.cancel_scope.cancel()
