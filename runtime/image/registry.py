"""One registry's repository: manifests by name, blobs as streams that survive broken connections.

Source: OCI distribution spec 1.1; distribution's token authentication.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import quote

import trio

from runtime import errors
from runtime.image.auth import Challenge, Credentials, parse_challenge, parse_token
from runtime.image.http import Client, HttpOptions, NotTls, Origin, Response, is_loopback, split_url
from runtime.image.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MANIFEST_MAX_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
)
from runtime.image.reference import DEFAULT_DOMAIN, Reference

T = TypeVar("T")
HUB: Final = "registry-1.docker.io"
ACCEPT: Final = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
TOKEN_MAX_BYTES: Final = 256 << 10
ERROR_MAX_BYTES: Final = 64 << 10
WAIT_MAX_S: Final = 5.0
BROKEN_MAX: Final = 100  # a byte per connection is no download


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How registries are asked.

    Args:
        credentials: by registry domain as in an image's name; none means anonymous.
        tries: in a row without progress.
        wait_s: before the second try; doubles.
    """

    http: HttpOptions = field(default_factory=HttpOptions)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    tries: int = 5
    wait_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or list as it came."""

    body: bytes
    digest: str
    content_type: str


@asynccontextmanager
async def open_registry(ref: Reference, options: RegistryOptions) -> AsyncIterator["Registry"]:
    """Talk to the registry of one image; closes all connections at the end."""
    client = Client(options.http)
    try:
        origin = await _origin(ref.domain, client)
        yield Registry(client, origin, ref, options)
    finally:
        await client.aclose()


class Registry:
    """The repository of one image."""

    def __init__(
        self, client: Client, origin: Origin, ref: Reference, options: RegistryOptions
    ) -> None:
        self._client = client
        self._base = f"{origin.url}/v2/{quote(ref.path)}"
        self._options = options
        self._scope = f"repository:{ref.path}:pull"
        self._credentials = options.credentials.get(ref.domain)
        self._authorization = ""
        self._token_lock = trio.Lock()

    async def manifest(self, name: str) -> Document:
        """Fetch a manifest or list by tag or digest.

        Raises:
            Missing: no such image. Refused: not allowed, too long, or another hash than it says.
            Unavailable: no answer, after some tries.
        """

        async def once() -> Document:
            response = await self.get(f"/manifests/{name}", {"Accept": ACCEPT})
            try:
                body = await response.body(MANIFEST_MAX_BYTES)
            finally:
                await response.aclose()
            said = response.headers.get("docker-content-digest", "")
            return _verified(body, name, said, response.headers.get("content-type", ""))

        return await self.retried(once)

    def blob(self, digest: str, size_bytes: int, on_retry: Callable[[], None]) -> "BlobStream":
        """A blob's bytes; close it after use."""
        return BlobStream(self, digest, size_bytes, on_retry)

    async def blob_body(self, digest: str, size_bytes: int) -> bytes:
        """A small blob, verified (Refused)."""
        stream = self.blob(digest, size_bytes, lambda: None)
        try:
            body = bytearray()
            while piece := await stream.receive():
                body += piece
        finally:
            await stream.aclose()
        if digest_of(bytes(body)) != digest:
            raise errors.Refused("verify blob", digest=digest, why="its content has another hash")
        return bytes(body)

    async def get(self, path: str, headers: Mapping[str, str]) -> Response:
        """GET below this repository, with a token if one is asked for; status 200 or 206 only."""
        sent = self._authorization
        response = await self._get(path, headers)
        if response.status == 401:
            await self._authenticate(response, sent)
            response = await self._get(path, headers)
        if response.status not in {200, 206}:
            raise await _failure(response, path)
        return response

    async def retried(self, once: Callable[[], Awaitable[T]]) -> T:
        """Try again after what may pass; a registry that never answered is given up at once."""
        for tried in range(1, self._options.tries):
            try:
                return await once()
            except errors.Unavailable:
                if not self._client.connected:
                    raise
                await self.pause(tried)
        return await once()

    async def pause(self, tried: int) -> None:
        """Wait before the next try: the registry may be restarting."""
        await trio.sleep(min(WAIT_MAX_S, self._options.wait_s * 2 ** (tried - 1)))

    @property
    def tries(self) -> int:
        return self._options.tries

    async def _get(self, path: str, headers: Mapping[str, str]) -> Response:
        extra = {"Authorization": self._authorization} if self._authorization else {}
        return await self._client.get(self._base + path, {**headers, **extra})

    async def _authenticate(self, response: Response, sent: str) -> None:
        """Answer a challenge; layers in parallel share one token."""
        challenge = parse_challenge(response.headers.get("www-authenticate", ""))
        failure = await _failure(response, "")
        async with self._token_lock:
            if self._authorization != sent:
                return  # another task has just done it
            if challenge is None or (challenge.scheme == "basic" and self._credentials is None):
                raise failure
            if challenge.scheme == "basic" and self._credentials is not None:
                self._authorization = self._credentials.header()
            else:
                self._authorization = await self._token(challenge)

    async def _token(self, challenge: Challenge) -> str:
        registry, _ = split_url(self._base)
        realm, _ = split_url(challenge.realm)
        if realm.scheme != "https" and not (is_loopback(realm) and is_loopback(registry)):
            raise errors.Refused("ask for a token", realm=challenge.realm[:300], why="plain HTTP")
        headers = {"Authorization": self._credentials.header()} if self._credentials else {}
        response = await self._client.get(challenge.token_url(self._scope), headers)
        if response.status != 200:
            raise await _failure(response, "token")
        try:
            return parse_token(await response.body(TOKEN_MAX_BYTES))
        finally:
            await response.aclose()


class BlobStream:
    """A blob's bytes in order, whatever happens to connections; digests are the reader's."""

    def __init__(
        self, registry: Registry, digest: str, size_bytes: int, on_retry: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._digest = digest
        self._size = size_bytes
        self._on_retry = on_retry
        self._response: Response | None = None
        self._failed = 0  # in a row
        self._broken = 0  # in all
        self._carry = b""  # came with what had to be skipped
        self._ended = False
        self.offset = 0

    async def receive(self) -> bytes:
        """The next piece, b"" when all ``size_bytes`` have come.

        Raises:
            Refused: it is shorter or longer than the manifest says. Missing.
            Unavailable: broken too often in a row without a byte of progress.
        """
        while not self._ended:
            try:
                piece = await self._piece()
            except errors.Unavailable:
                await self.aclose()
                self._failed += 1
                self._broken += 1
                if self._failed >= self._registry.tries or self._broken > BROKEN_MAX:
                    raise
                self._on_retry()
                await self._registry.pause(self._failed)
                continue
            self.offset += len(piece)
            self._failed = 0 if piece else self._failed
            if self.offset > self._size or (not piece and self.offset < self._size):
                raise errors.Refused("fetch blob", digest=self._digest, size=self._size)
            self._ended = not piece
            return piece
        return b""

    async def aclose(self) -> None:
        """Give the connection back. The stream may go on: it asks again from where it was."""
        if self._response is not None:
            response, self._response = self._response, None
            await response.aclose()

    async def _piece(self) -> bytes:
        if self._response is None:
            if self.offset and self.offset == self._size:
                return b""  # it broke between the last byte and the end
            self._response = await self._open()
        if self._carry:
            piece, self._carry = self._carry, b""
            return piece
        return await self._response.receive()

    async def _open(self) -> Response:
        headers = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        response = await self._registry.get(f"/blobs/{self._digest}", headers)
        try:
            begins = self._begin(response)
            self._carry = await self._skip(response, self.offset - begins)
        except BaseException:
            await response.aclose()
            raise
        return response

    def _begin(self, response: Response) -> int:
        """Where the answer begins: a registry that knows no ranges sends all (Refused)."""
        begins = 0
        if response.status == 206:
            unit, _, span = response.headers.get("content-range", "").partition(" ")
            if unit != "bytes" or span.partition("-")[0] != str(self.offset):
                raise errors.Refused("resume blob", digest=self._digest, range=span[:100])
            begins = self.offset
        says = response.headers.get("content-length", "")
        if says and says != str(self._size - begins):
            raise errors.Refused("fetch blob", digest=self._digest, size=self._size, says=says[:30])
        return begins

    async def _skip(self, response: Response, count: int) -> bytes:
        """Pass over what we have; returns what came with its last piece."""
        while count > 0:
            piece = await response.receive()
            if not piece:
                raise errors.Refused("fetch blob", digest=self._digest, size=self._size)
            if len(piece) > count:
                return piece[count:]
            count -= len(piece)
        return b""


async def _origin(domain: str, client: Client) -> Origin:
    """Where a domain's registry is; on loopback it may speak plain HTTP."""
    secure, _ = split_url(f"https://{HUB if domain == DEFAULT_DOMAIN else domain}")
    if not is_loopback(secure):
        return secure
    try:
        await client.probe(secure)
    except NotTls:
        # As Docker: only the name says how to ask, and a registry on loopback is often plain.
        plain, _ = split_url(f"http://{domain}")
        return plain
    return secure


def _verified(body: bytes, name: str, said: str, content_type: str) -> Document:
    digest = digest_of(body)
    for want in (name if name.startswith("sha256:") else "", said):
        if want.startswith("sha256:") and want != digest:
            raise errors.Refused("verify manifest", want=want[:100], got=digest)
    return Document(body=body, digest=digest, content_type=content_type)


async def _failure(response: Response, path: str) -> errors.RunError:
    """The answer as an error, with the registry's own words; closes it."""
    host = response.connection.origin.netloc
    try:
        said = (await response.body(ERROR_MAX_BYTES)).decode("utf-8", "replace")
    except (errors.Refused, errors.Unavailable):
        said = ""
    finally:
        await response.aclose()
    fields = {"host": host, "path": path, "status": response.status, "said": said[:500].strip()}
    if response.status == 404:
        return errors.Missing("no such image in the registry", **fields)
    if response.status in {401, 403}:
        why = "no such repository, or it needs a login"
        return errors.Refused("fetch from registry", why=why, **fields)
    if response.status in {408, 429} or response.status >= 500:
        return errors.Unavailable("fetch from registry", **fields)
    return errors.Refused("fetch from registry", **fields)
