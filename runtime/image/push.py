"""Bring one image to a registry: what it has is not sent again, and the manifest comes last.

Source: OCI distribution spec 1.1, "Push".
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import trio

from runtime import errors
from runtime.contract.image import Progress
from runtime.image.http import Body, Response, plain_body
from runtime.image.parcel import Blob, Parcel
from runtime.image.registry import Registry
from runtime.image.together import together

LAYERS_AT_ONCE: Final = 4
CHUNK_BYTES: Final = 32 << 20  # of a larger blob a broken connection costs no more than this; guess
READ_BYTES: Final = 256 << 10
TELL_BYTES: Final = 4 << 20  # of progress
OCTETS: Final = {"Content-Type": "application/octet-stream"}
Status = Literal["checking", "exists", "mounted", "pushing", "retrying", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pusher:
    """Sends images to one repository.

    Args:
        sources: repositories of the same registry that may have the blobs already.
    """

    registry: Registry
    sources: Sequence[str]
    report: Callable[[Progress], None]
    chunk_bytes: int = CHUNK_BYTES

    async def push(self, parcel: Parcel, tag: str) -> str:
        """Send an image and name it; the manifest's digest.

        Raises:
            Refused: not allowed, or the registry has other bytes than we sent.
            Unavailable: no answer, after some tries.
        """
        limit = trio.CapacityLimiter(LAYERS_AT_ONCE)

        async def send(blob: Blob) -> None:
            async with limit:
                await self._send(blob)

        await together([partial(send, blob) for blob in (*parcel.layers, parcel.config)])
        return await self.registry.retried(partial(self._name, parcel, tag))

    # --- one blob -------------------------------------------------------------------------------

    async def _send(self, blob: Blob) -> None:
        self._tell(blob, "checking")
        if await self.registry.retried(partial(self._has, blob)):
            self._tell(blob, "exists")
            return
        location = ""
        for source in self.sources or ("",):
            location = await self.registry.retried(partial(self._begin, blob, source))
            if not location:
                self._tell(blob, "mounted")
                return
        self._tell(blob, "pushing")
        if blob.size_bytes <= self.chunk_bytes:
            await self._whole(blob, location)
        else:
            await self._by_chunks(blob, location)
        self._tell(blob, "done", blob.size_bytes)

    async def _has(self, blob: Blob) -> bool:
        answer = await self.registry.send("HEAD", f"/blobs/{blob.digest}", {}, good={200, 404})
        await answer.aclose()
        return answer.status == 200

    async def _begin(self, blob: Blob, source: str) -> str:
        """Begin an upload: where it goes on; "" if the registry took the blob from ``source``."""
        query = f"?{urlencode({'mount': blob.digest, 'from': source})}" if source else ""
        answer = await self.registry.send(
            "POST", f"/blobs/uploads/{query}", {}, good={201, 202}, body=plain_body(b"")
        )
        await answer.aclose()
        return "" if answer.status == 201 and source else self._location(answer)

    async def _whole(self, blob: Blob, location: str) -> None:
        """Send it in one request; after a broken one from the beginning, as a new upload."""
        where = location

        async def once() -> None:
            nonlocal where
            begun, where = where or await self._begin(blob, ""), ""
            await self._finish(blob, begun, self._part(blob, 0, blob.size_bytes))

        await self.registry.retried(once)

    async def _by_chunks(self, blob: Blob, location: str) -> None:
        """Send it in pieces; after a broken one from where the registry says it is."""
        offset, failed = 0, 0
        while offset < blob.size_bytes:
            end = min(offset + self.chunk_bytes, blob.size_bytes)
            try:
                location = await self._patch(blob, location, offset, end)
                offset, failed = end, 0
            except errors.Unavailable:
                failed += 1
                if failed >= self.registry.tries:
                    raise
                self._tell(blob, "retrying", offset)
                await self.registry.pause(failed)
                location, offset = await self._where(location)
        await self.registry.retried(partial(self._finish, blob, location, plain_body(b"")))

    async def _patch(self, blob: Blob, location: str, offset: int, end: int) -> str:
        headers = {**OCTETS, "Content-Range": f"{offset}-{end - 1}"}
        answer = await self.registry.send(
            "PATCH", location, headers, good={202}, body=self._part(blob, offset, end)
        )
        await answer.aclose()
        return self._location(answer)

    async def _where(self, location: str) -> tuple[str, int]:
        """Where an upload goes on, and how many bytes it has."""
        answer = await self.registry.send("GET", location, {}, good={204})
        await answer.aclose()
        _, dash, last = answer.headers.get("range", "").partition("-")
        if not (dash and last.isascii() and last.isdigit()):
            raise errors.Refused("resume upload", range=answer.headers.get("range", "")[:100])
        return self._location(answer), int(last) + 1 if int(last) else 0

    async def _finish(self, blob: Blob, location: str, body: Body) -> None:
        joint = "&" if "?" in location else "?"
        url = f"{location}{joint}{urlencode({'digest': blob.digest})}"
        answer = await self.registry.send("PUT", url, OCTETS, good={201, 204}, body=body)
        await answer.aclose()

    def _location(self, answer: Response) -> str:
        where = answer.headers.get("location", "")
        if not where:
            raise errors.Refused("begin upload", why="the registry does not say where to")
        return self.registry.resolve(where)

    def _part(self, blob: Blob, start: int, end: int) -> Body:
        def sent(offset: int) -> None:
            self._tell(blob, "pushing", offset)

        return file_body(blob.path, start, end, sent)

    def _tell(self, blob: Blob, status: Status, done: int = 0) -> None:
        total = blob.size_bytes if status in {"pushing", "retrying"} else 0
        layer = blob.digest.removeprefix("sha256:")[:12]
        self.report(Progress(layer=layer, status=status, current_bytes=done, total_bytes=total))

    # --- the name -------------------------------------------------------------------------------

    async def _name(self, parcel: Parcel, tag: str) -> str:
        answer = await self.registry.send(
            "PUT",
            f"/manifests/{tag}",
            {"Content-Type": parcel.media_type},
            good={200, 201},
            body=plain_body(parcel.manifest),
        )
        await answer.aclose()
        said = answer.headers.get("docker-content-digest", "")
        if said and said != parcel.digest:
            raise errors.Refused("verify push", want=parcel.digest, got=said[:100])
        return parcel.digest


def file_body(path: Path, start: int, end: int, sent: Callable[[int], None]) -> Body:
    """Bytes of a file; ``sent`` is told now and then how far it is."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        async with await trio.open_file(path, "rb") as file:
            offset = await file.seek(start)

            async def read() -> bytes:
                nonlocal offset
                piece = await file.read(min(READ_BYTES, end - offset))
                offset += len(piece)
                if offset % TELL_BYTES == 0:
                    sent(offset)
                return piece

            yield read

    return Body(size_bytes=end - start, opened=opened)
