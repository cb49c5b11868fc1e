"""Volumes as archives and backups: written out, and read in without risk to what is there."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import zstandard

from nodeagent.control.parts import Parts
from nodeagent.control.times import build_stamp
from nodeagent.control.unpacking import plain
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.errors import Busy, Invalid
from nodeagent.model.volume import VolumeArchive, VolumeBackup, VolumeCreate, VolumeRecord
from runtime.contract.files import Files

UNDO_S = 60.0  # to take back what could not be read in; a guess
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

    async def backup(self, name: str, target: str, *, keep: int) -> VolumeBackup:
        """Add a tree of what the volume is now to the backups in a directory or another volume.

        Where the driver can, of a snapshot made for it, so the tree is of one moment.

        Raises:
            Invalid: the directory is no absolute path, the volume itself, or one of the agent's.
        """
        record = self._parts.inventory.volume(name)
        if target == name:
            raise Invalid("a volume is not its own backup", field="target", value=target)
        async with self._frozen(record) as source, self._backup_place(target) as place:
            stamp = build_stamp(self._parts.now())
            report = await self._parts.backups.write(source, place / name, stamp, keep=keep)
        self._parts.events.publish("volume", "backup", name, name, target=target, stamp=stamp)
        return VolumeBackup(
            name=name,
            path=str(place / name / stamp),
            files=report.files,
            bytes=report.bytes,
            shared_files=report.shared_files,
        )

    @asynccontextmanager
    async def _frozen(self, record: VolumeRecord) -> AsyncIterator[Path]:
        """The bytes of one moment, where there can be a snapshot; it is gone afterwards."""
        if record.kind != "volume" or "clone" not in self._volumes.abilities(record):
            async with self._mounted(record) as place:
                yield place
            return
        made = await self._copies.snapshot(record.name, f"backup-{self._parts.new_id()[:8]}")
        try:
            async with self._mounted(self._parts.inventory.volume(made.name)) as place:
                yield place
        finally:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._volumes.rm(made.name, force=True)

    @asynccontextmanager
    async def _backup_place(self, target: str) -> AsyncIterator[Path]:
        if target in self._parts.inventory.volumes:
            async with self._mounted(self._parts.inventory.volume(target)) as place:
                yield place
        elif target.startswith("/") and ".." not in target.split("/"):
            volumes = await trio.Path(self._parts.settings.root / "volumes").resolve()
            if (await trio.Path(target).resolve()).is_relative_to(volumes):
                raise Invalid(
                    "that is in the agent's own directory; name the volume, or a directory"
                    " elsewhere",
                    field="target",
                    value=target,
                )
            yield Path(target)
        else:
            raise Invalid("neither a volume nor an absolute path", field="target", value=target)

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
                tar = _whole(plain(digest.of(chunks)))
                await self._files.write(place, "/", tar, keep_owner=True)
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
