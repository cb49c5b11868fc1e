"""Volumes as archives: written out with their digest, and read in without risk to what is there."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import zstandard

from nodeagent.control.parts import Parts
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.errors import Busy, Invalid
from nodeagent.model.volume import VolumeArchive, VolumeCreate, VolumeRecord
from runtime.contract.files import Files

UNDO_S = 60.0  # to take back what could not be read in; a guess
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PIECE_BYTES = 1 << 20
TAR_END_BYTES = 1024


class VolumeStreams:
    """Export and import."""

    def __init__(self, parts: Parts, copies: VolumeCopies, files: Files) -> None:
        self._parts = parts
        self._volumes = copies.volumes
        self._copies = copies
        self._files = files

    @asynccontextmanager
    async def export(
        self, name: str, *, compress: str
    ) -> AsyncIterator[tuple[AsyncIterator[bytes], "Digest"]]:
        """(chunks, their digest once they are through) of the tar of all in a volume or snapshot.

        Of a volume in use take a snapshot first: a tar of files that change is of no one moment.
        """
        record = self._parts.inventory.volume(name)
        digest = Digest()
        async with (
            self._mounted(record) as place,
            self._files.read(place, "/", name=".") as chunks,
        ):
            packed = _compressed(chunks) if compress == "zstd" else chunks
            yield digest.of(packed), digest
        self._parts.events.publish("volume", "export", name, name)

    @asynccontextmanager
    async def _mounted(self, record: VolumeRecord) -> AsyncIterator[Path]:
        holder = f"transfer-{self._parts.new_id()[:16]}"
        async with self._volumes.use.held(record, holder) as place:
            yield Path(place)

    async def import_(
        self, request: VolumeCreate, chunks: AsyncIterator[bytes], *, sha256: str
    ) -> VolumeArchive:
        """Make a volume of an archive, or replace the content of one that nobody has mounted.

        The archive is unpacked beside it and checked first. What was there is kept as a removed
        volume.

        Raises:
            Invalid: the digest is another. Refused: it is no tar, or one that leads out.
        """
        known = self._parts.inventory.volumes.get(request.name)
        if known:
            self._volumes.record(request)  # the same driver and options, or not named
            self._check_idle(known)
        wanted = known or self._volumes.record(request)
        draft = self._copies.draft(wanted)
        await self._parts.inventory.put(draft)
        digest = Digest()
        try:
            await self._volumes.create_bytes(draft)
            async with self._mounted(draft) as place:
                plain = _whole(_plain(digest.of(chunks)))
                await self._files.write(place, "/", plain, keep_owner=True)
            digest.check(sha256)
            await self._copies.install(draft, wanted, replace=known is not None)
        except BaseException:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._copies.give_up(draft)
            raise
        self._parts.events.publish("volume", "import", wanted.name, wanted.name)
        return VolumeArchive(name=wanted.name, sha256=digest.hex, bytes=digest.size)

    def _check_idle(self, record: VolumeRecord) -> None:
        if self._parts.leases.book(record.name).leases:
            raise Busy(
                "the volume is mounted; stop who uses it first", field="name", name=record.name
            )


class Digest:
    """SHA-256 and length of what passes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def hex(self) -> str:
        """64 hex digits."""
        return self._hash.hexdigest()

    def check(self, wanted: str) -> None:
        """Refuse all but these digits (Invalid); "" = anything."""
        if wanted and wanted.lower() != self.hex:
            raise Invalid(
                "the archive is not the one that was written: its digest is another",
                field="sha256",
                value=wanted,
                found=self.hex,
            )

    async def of(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks."""
        async for chunk in chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk


async def _compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """As one zstd frame with its own checksum."""
    packer = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    async for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


async def _whole(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks.

    Raises:
        Invalid: they do not end as a tar does; one that was cut between two entries looks whole.
    """
    tail = b""
    async for chunk in chunks:
        tail = (tail + chunk)[-TAR_END_BYTES:]
        yield chunk
    if tail != bytes(TAR_END_BYTES):
        raise Invalid("the archive is not whole: a tar ends with 1024 zero bytes")


async def _plain(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Without zstd, if there is any.

    Raises:
        Invalid: the frame is damaged or not whole.
    """
    unpacker: zstandard.ZstdDecompressionObj | None = None
    is_first = True
    async for chunk in chunks:
        if is_first and chunk.startswith(ZSTD_MAGIC):
            unpacker = zstandard.ZstdDecompressor().decompressobj()
        is_first = False
        if unpacker is None:
            yield chunk
            continue
        for start in range(0, len(chunk), PIECE_BYTES):
            try:
                yield unpacker.decompress(chunk[start : start + PIECE_BYTES])
            except zstandard.ZstdError as exc:
                raise Invalid("the archive's zstd frame is damaged", says=str(exc)) from exc
    if unpacker is not None and not unpacker.eof:
        raise Invalid("the archive ends before its zstd frame does")
