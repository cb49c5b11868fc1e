"""One registry's repository: manifests by name, blobs as streams that survive broken connections.

Source: OCI distribution spec 1.1; distribution's token authentication.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import quote, urljoin

import trio

from runtime import errors
from runtime.image.auth import (
    REFRESH_USER,
    Challenge,
    Credentials,
    parse_challenge,
    parse_token,
)
from runtime.image.blobstream import BlobStream
from runtime.image.http import (
    Body,
    Client,
    HttpOptions,
    NotTls,
    Response,
    plain_body,
)
from runtime.image.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MANIFEST_MAX_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
    parse_tags,
)
from runtime.image.origin import Origin, check_clear, is_loopback, split_url
from runtime.image.reference import DEFAULT_DOMAIN, Reference

T = TypeVar("T")
HUB: Final = "registry-1.docker.io"
ACCEPT: Final = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
TOKEN_MAX_BYTES: Final = 256 << 10
FORM_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded"}
ERROR_MAX_BYTES: Final = 64 << 10
PAGES_MAX: Final = 1000
NEXT: Final = re.compile(r'<([^>]+)>;\s*rel="?next"?')
WAIT_MAX_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How registries are asked.

    Args:
        credentials: by registry domain as in an image's name; none means anonymous.
        mirrors: asked before the registry of docker.io, see ``mirrors.ask_nearest``.
        hub: where docker.io is.
        tries: in a row without progress.
        wait_s: before the second try; doubles.
    """

    http: HttpOptions = field(default_factory=HttpOptions)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    mirrors: Sequence[Origin] = ()
    hub: str = HUB
    tries: int = 5
    wait_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or list as it came."""

    body: bytes
    digest: str
    content_type: str


@asynccontextmanager
async def open_registry(
    ref: Reference,
    options: RegistryOptions,
    *,
    actions: str = "pull",
    sources: Sequence[str] = (),
    mirror: Origin | None = None,
) -> AsyncIterator["Registry"]:
    """Talk to the registry of one image; closes all connections at the end.

    Args:
        actions: what a token must allow in the repository: "pull" or "pull,push".
        sources: repositories of the same registry that blobs are mounted from.
        mirror: ask this one in the registry's place.
    """
    scopes = [f"repository:{ref.path}:{actions}", *(f"repository:{each}:pull" for each in sources)]
    async with _open(ref.domain, f"/{quote(ref.path)}", scopes, options, mirror) as registry:
        yield registry


async def check_login(domain: str, options: RegistryOptions) -> None:
    """Ask whether the credentials for a domain are good (Refused, Unavailable)."""
    async with _open(domain, "", [], options) as registry:
        response = await registry.send("GET", "/", {}, good={200})
        await response.aclose()


@asynccontextmanager
async def _open(
    domain: str,
    path: str,
    scopes: Sequence[str],
    options: RegistryOptions,
    mirror: Origin | None = None,
) -> AsyncIterator["Registry"]:
    client = Client(options.http)
    try:
        host = options.hub if domain == DEFAULT_DOMAIN else domain
        origin = mirror or await _origin(host, client)
        credentials = options.credentials.get(mirror.netloc if mirror else domain)
        yield Registry(client, f"{origin.url}/v2{path}", scopes, credentials, options)
    finally:
        await client.aclose()


class Registry:
    """The repository of one image."""

    def __init__(
        self,
        client: Client,
        base: str,
        scopes: Sequence[str],
        credentials: Credentials | None,
        options: RegistryOptions,
    ) -> None:
        self._client = client
        self._base = base
        self._origin, _ = split_url(base)
        self._options = options
        self._scopes = scopes
        self._credentials = credentials
        self._authorization = ""
        self._token_lock = trio.Lock()
        self.tries = options.tries

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

    async def tags(self) -> list[str]:
        """All tags of the repository, page by page (Missing, Refused, Unavailable)."""
        found: list[str] = []
        url = "/tags/list"
        for _ in range(PAGES_MAX):
            response = await self.send("GET", url, {}, good={200})
            try:
                page = parse_tags(await response.body(MANIFEST_MAX_BYTES))
            finally:
                await response.aclose()
            found += page
            link = NEXT.match(response.headers.get("link", ""))
            if link is None:
                return found
            url = self.resolve(link[1])
        raise errors.Refused("list tags", why="too many pages", limit=PAGES_MAX)

    def blob(self, digest: str, size_bytes: int, on_retry: Callable[[], None]) -> BlobStream:
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
        """GET below this repository, redirects followed; status 200 or 206 only."""
        return await self._asked(lambda extra: self._get(path, {**headers, **extra}), {200, 206})

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        good: Collection[int],
        body: Body | None = None,
    ) -> Response:
        """Any request, to a path below this repository or where an answer of its led.

        Raises:
            Missing, Refused, Unavailable: another status than the ``good`` ones.
        """
        target = self._base + url if url.startswith("/") else url
        origin, _ = split_url(target)
        check_clear(origin, self._origin)

        def ask(extra: Mapping[str, str]) -> Awaitable[Response]:
            allowed = extra if origin == self._origin else {}
            return self._client.send(method, target, {**headers, **allowed}, body)

        return await self._asked(ask, good)

    def resolve(self, location: str) -> str:
        """What a Location header means, which may be relative."""
        return urljoin(self._base + "/", location)

    async def _asked(
        self, ask: Callable[[Mapping[str, str]], Awaitable[Response]], good: Collection[int]
    ) -> Response:
        """Ask, with a token if the registry itself asks for one.

        A host it led us to might send our password to a token server of its own.
        """
        sent = self._authorization
        response = await ask(self._header())
        if response.status == 401 and response.origin == self._origin:
            await self._authenticate(response, sent)
            response = await ask(self._header())
        if response.status not in good:
            raise await _failure(response, "")
        return response

    def _header(self) -> Mapping[str, str]:
        return {"Authorization": self._authorization} if self._authorization else {}

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

    async def _get(self, path: str, headers: Mapping[str, str]) -> Response:
        return await self._client.get(self._base + path, headers)

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
        realm, _ = split_url(challenge.realm)
        check_clear(realm, self._origin)
        who = self._credentials
        if who is not None and who.user == REFRESH_USER:
            form = challenge.token_form(self._scopes, who.password)
            response = await self._client.send(
                "POST", challenge.realm, FORM_HEADERS, plain_body(form)
            )
        else:
            headers = {"Authorization": who.header()} if who else {}
            response = await self._client.get(challenge.token_url(self._scopes), headers)
        if response.status != 200:
            raise await _failure(response, "token")
        try:
            return parse_token(await response.body(TOKEN_MAX_BYTES))
        finally:
            await response.aclose()


async def _origin(host: str, client: Client) -> Origin:
    """How a host's registry is asked; on loopback it may speak plain HTTP."""
    secure, _ = split_url(f"https://{host}")
    if not is_loopback(secure):
        return secure
    try:
        await client.probe(secure)
    except NotTls:
        # As Docker: only the name says how to ask, and a registry on loopback is often plain.
        plain, _ = split_url(f"http://{host}")
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
    host = response.origin.netloc
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
