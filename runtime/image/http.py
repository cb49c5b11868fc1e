"""A small HTTP/1.1 client on trio: kept connections, redirects, bounded waits."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import h11
import trio

from runtime import errors
from runtime.image.origin import Origin, check_clear, split_url
from runtime.image.trust import Trust

RECEIVE_BYTES: Final = 256 << 10
REDIRECTS: Final = 5
IDLE_KEPT: Final = 4  # connections per origin
LEFTOVER_MAX_BYTES: Final = 64 << 10  # read to keep a connection; above that a new one is cheaper
INTERIM_MAX: Final = 16  # answers of 1xx before the one that counts
CLOSE_S: Final = 2.0
AGENT: Final = "nodeagent/0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How patient to be and whom to trust.

    Args:
        ca_file: further certificate authorities, PEM.
        ca_folders: where ``HOST:PORT/*.crt`` are authorities for one registry, as Docker has them.
        connect_s: for name look-up, connect and TLS together.
        idle_s: without a single byte.
    """

    ca_file: Path | None = None
    ca_folders: Sequence[Path] = ()
    connect_s: float = 10.0
    idle_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request carries; ``opened`` anew, it is read again from its beginning."""

    size_bytes: int
    opened: Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[bytes]]]]


def plain_body(data: bytes) -> Body:
    """Some bytes as they are."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        left = [data]

        async def read() -> bytes:
            return left.pop() if left else b""

        yield read

    return Body(size_bytes=len(data), opened=opened)


class NotTls(errors.Unavailable):
    """The peer does not speak TLS."""


class Connection:
    """One kept connection; one request at a time."""

    def __init__(self, stream: trio.abc.Stream, origin: Origin, idle_s: float) -> None:
        self._stream = stream
        self._idle_s = idle_s
        self._http = h11.Connection(h11.CLIENT)
        self.origin = origin
        self.used = False

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: Body | None
    ) -> h11.Response:
        """Send a request and return the head of the answer (Unavailable, Refused)."""
        common = {"Host": self.origin.netloc, "User-Agent": AGENT, "Accept-Encoding": "identity"}
        if body is not None:
            common["Content-Length"] = str(body.size_bytes)
        try:
            request = h11.Request(
                method=method, target=target, headers=list({**common, **headers}.items())
            )
            await self._send(request)
            if body is not None:
                async with body.opened() as read:
                    while piece := await read():
                        await self._send(h11.Data(data=piece))
            await self._send(h11.EndOfMessage())
        except h11.LocalProtocolError as exc:
            raise errors.Refused("build request", target=target[:300], why=str(exc)) from exc
        return await self._head()

    async def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        data = self._http.send(event)
        if data:
            with self._translated(), trio.fail_after(self._idle_s):
                await self._stream.send_all(data)

    async def _head(self) -> h11.Response:
        for _ in range(INTERIM_MAX):
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise errors.Unavailable("read answer", host=self.origin.netloc, why="closed")
        why = "interim answers only"
        raise errors.Refused("read answer", host=self.origin.netloc, why=why, limit=INTERIM_MAX)

    async def receive(self) -> bytes:
        """The next piece of the body, b"" at its end (Unavailable)."""
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return b""
            else:
                raise errors.Unavailable("read answer", host=self.origin.netloc, why="closed")

    def renew(self) -> bool:
        """Make ready for a further request; False if the connection cannot take one."""
        self.used = True
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def aclose(self) -> None:
        with trio.move_on_after(CLOSE_S, shield=True):
            await trio.aclose_forcefully(self._stream)

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        with self._translated():
            while True:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                with trio.fail_after(self._idle_s):
                    data = await self._stream.receive_some(RECEIVE_BYTES)
                self._http.receive_data(bytes(data))

    def _translated(self) -> "_Translated":
        return _Translated(self.origin)


class _Translated:
    """Whatever breaks a connection is Unavailable: trying again may help."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        broken = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
        if isinstance(exc, (*broken, h11.RemoteProtocolError)):
            why = str(exc) or type(exc).__name__
            host = self._origin.netloc
            raise errors.Unavailable("talk to registry", host=host, why=why) from exc


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer: its head, and the connection that still holds the body."""

    status: int
    headers: Mapping[str, str]  # names in lower case; doubles are joined
    connection: Connection
    client: "Client"

    @property
    def origin(self) -> Origin:
        """Who gave it, after all redirects."""
        return self.connection.origin

    async def receive(self) -> bytes:
        """The next piece of the body, b"" at its end (Unavailable)."""
        return await self.connection.receive()

    async def body(self, limit: int) -> bytes:
        """The whole body; Refused above ``limit`` bytes."""
        pieces = bytearray()
        while piece := await self.receive():
            pieces += piece
            if len(pieces) > limit:
                raise errors.Refused(
                    "read answer", host=self.origin.netloc, why="too long", limit=limit
                )
        return bytes(pieces)

    async def aclose(self) -> None:
        """Give the connection back if it is worth keeping, else close it."""
        await self.client.give_back(self.connection)


class Client:
    """Connections to registries and those they redirect to; lives as long as one pull."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._idle: dict[Origin, list[Connection]] = {}
        self._trust = Trust(options.ca_file, options.ca_folders)
        self.connected = False  # whether anybody ever answered

    async def aclose(self) -> None:
        """Close all idle connections."""
        for connections in self._idle.values():
            while connections:
                await connections.pop().aclose()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Response:
        """One request, no redirects, to a URL that ``check_clear`` allows; close the answer."""
        origin, target = split_url(url)
        return await self._ask(method, origin, target, headers, body)

    async def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """GET with redirects; the caller closes the answer.

        Credentials go to the first origin only, and not even there once another host had a say in
        what is asked.
        """
        first, _ = split_url(url)
        for _ in range(REDIRECTS + 1):
            origin, target = split_url(url)
            check_clear(origin, first)
            if origin != first:
                headers = {key: headers[key] for key in headers if key != "Authorization"}
            response = await self._ask("GET", origin, target, headers, None)
            location = response.headers.get("location", "")
            if response.status not in {301, 302, 303, 307, 308} or not location:
                return response
            await response.aclose()
            url = urljoin(url, location)
        raise errors.Refused("fetch", host=first.netloc, why="too many redirects")

    async def probe(self, origin: Origin) -> None:
        """Connect and keep the connection (NotTls, Unavailable)."""
        self._keep(await self._connect(origin))

    async def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, close any other."""
        if connection.renew() and len(self._idle.get(connection.origin, [])) < IDLE_KEPT:
            self._keep(connection)
        else:
            await connection.aclose()

    def _keep(self, connection: Connection) -> None:
        self._idle.setdefault(connection.origin, []).append(connection)

    async def _ask(
        self,
        method: str,
        origin: Origin,
        target: str,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Response:
        """Send on a kept connection, or a new one if the peer closed that meanwhile."""
        while True:
            kept = self._idle.get(origin)
            connection = kept.pop() if kept else await self._connect(origin)
            try:
                head = await connection.request(method, target, headers, body)
            except errors.Unavailable:
                await connection.aclose()
                if not connection.used:
                    raise
            except BaseException:
                await connection.aclose()
                raise
            else:
                return Response(
                    status=head.status_code,
                    headers=_headers(head),
                    connection=connection,
                    client=self,
                )

    async def _connect(self, origin: Origin) -> Connection:
        doing = "connect to registry"
        try:
            with trio.fail_after(self._options.connect_s):
                stream = await self._stream(origin)
            self.connected = True
            return Connection(stream, origin, self._options.idle_s)
        except trio.BrokenResourceError as exc:
            why = str(exc.__cause__ or exc) or "closed"
            if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
                why += f"; the file of its authority is certs.d/{origin.netloc}/ca.crt"
                raise errors.Refused(doing, host=origin.netloc, why=why) from exc
            raise NotTls(doing, host=origin.netloc, why=why) from exc
        except trio.TooSlowError as exc:
            why = f"no answer within {self._options.connect_s:g} s"
            raise errors.Unavailable(doing, host=origin.netloc, why=why) from exc
        except UnicodeError as exc:  # what a redirect names need not be a host at all
            raise errors.Refused(doing, host=origin.netloc[:300], why=f"no name: {exc}") from exc
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise errors.Unavailable(doing, host=origin.netloc, why=why) from exc

    async def _stream(self, origin: Origin) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(origin.host, origin.port)
        if origin.scheme == "http":
            return stream
        try:
            secure = trio.SSLStream(
                stream,
                await self._trust.context(origin),
                server_hostname=origin.host,
                https_compatible=True,
            )
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


def _headers(head: h11.Response) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in head.headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found
