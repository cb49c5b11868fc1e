"""A blob as a stream that survives broken connections."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from runtime import errors
from runtime.image.http import Response

BROKEN_MAX: Final = 100  # a byte per connection is no download


class Source(Protocol):
    """The repository that the blob is in."""

    tries: int

    @property
    def get(self) -> Callable[[str, Mapping[str, str]], Awaitable[Response]]: ...

    async def pause(self, tried: int) -> None:
        """Wait before the next try."""


class BlobStream:
    """A blob's bytes in order, whatever happens to connections; digests are the reader's."""

    def __init__(
        self, registry: Source, digest: str, size_bytes: int, on_retry: Callable[[], None]
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
