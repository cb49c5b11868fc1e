"""Image archives: what is in a ``docker save`` or OCI tar, found without trusting it."""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from runtime import errors
from runtime.image.catalog import REF_NAME
from runtime.image.decompress import decompressed, form_of, peek
from runtime.image.ingest import Wanted
from runtime.image.manifest import (
    CONFIG_MAX_BYTES,
    LAYERS_MAX,
    MANIFEST_MAX_BYTES,
    Descriptor,
    Index,
    Manifest,
    digest_of,
    pair_layers,
    parse_config,
    parse_document,
    parse_layout_index,
)
from runtime.image.platform import Platform, best_match
from runtime.image.reference import parse_reference
from runtime.image.untar import Bytes, Limits, read_entries

CONTAINERD_NAME: Final = "io.containerd.image.name"
MEMBERS_MAX: Final = 20_000
LINKS_MAX: Final = 8
IMAGES_MAX: Final = 1_000
PIECE_BYTES: Final = 1 << 20


class SavedImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One row of docker save's manifest.json."""

    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


@dataclass(slots=True, kw_only=True)
class Archive:
    """The files of an archive, spooled: names inside it never become names on disk."""

    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where a member was spooled, through links (Refused)."""
        asked = name
        for _ in range(LINKS_MAX):
            name = _clean(name)
            if name in self.files:
                return self.files[name]
            if name not in self.links:
                break
            name = self.links[name]
        raise errors.Refused("read archive", missing=asked[:300])

    def read(self, name: str, limit: int) -> bytes:
        """A small member's content (Refused). Blocking."""
        path = self.path(name)
        if path.stat().st_size > limit:
            raise errors.Refused("read archive", member=name[:300], why="too long", limit=limit)
        return path.read_bytes()

    def blob(self, digest: str, limit: int) -> bytes:
        """A blob of an OCI layout, verified (Refused). Blocking."""
        body = self.read(_blob_name(digest), limit)
        if digest_of(body) != digest:
            raise errors.Refused("verify blob", digest=digest, why="its content has another hash")
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedLayer:
    """A layer, and what it must turn out to be."""

    path: Path
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedImage:
    """One image of an archive, ready to be unpacked."""

    config: bytes
    layers: tuple[ArchivedLayer, ...]
    tags: tuple[str, ...]
    manifest: bytes = b""  # docker save has none
    media_type: str = ""


def spool(chunks: Iterator[bytes], into: Path, limits: Limits) -> Archive:
    """Write the archive's files out under numbers. Blocking.

    Raises:
        Refused: not a tar, or too large. OSError: the disk's answer.
    """
    head, chunks = peek(chunks)
    source = Bytes(_bounded(decompressed(form_of(head), chunks), limits.stream_bytes))
    archive = Archive()
    for count, entry in enumerate(read_entries(source)):
        if count >= MEMBERS_MAX or entry.size < 0:
            raise errors.Refused("read archive", why="too large", members=count)
        name = _clean(entry.name)
        if entry.isreg():
            archive.files[name] = into / str(count)
            _copy(source, entry.size, archive.files[name])
        elif entry.issym():
            archive.links[name] = posixpath.join(posixpath.dirname(name), entry.linkname)
        elif entry.islnk():
            archive.links[name] = entry.linkname
    source.drain()
    return archive


def read_images(archive: Archive, host: Platform) -> list[ArchivedImage]:
    """Find the images in an archive; docker save's manifest.json counts before an OCI index.

    Blocking.

    Raises:
        Refused: no image in it, or one that is malformed or incomplete.
    """
    if "manifest.json" in archive.files:
        return [_saved(archive, row) for row in _saved_rows(archive)]
    if "index.json" in archive.files:
        rows = parse_layout_index(archive.read("index.json", MANIFEST_MAX_BYTES)).manifests
        return [_in_layout(archive, row, host) for row in _chosen(rows, host)]
    if "repositories" in archive.files:
        why = "saved by a Docker before 1.10; load and save it again with a newer one"
        raise errors.Refused("read archive", why=why)
    raise errors.Refused("read archive", why="neither manifest.json nor index.json in it")


def read_pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces. Blocking."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _bounded(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    for chunk in chunks:
        limit -= len(chunk)
        if limit < 0:
            raise errors.Refused("read archive", why="too large")
        yield chunk


def _copy(source: Bytes, size: int, path: Path) -> None:
    with path.open("xb") as file:
        while size and (piece := source.take(size)):
            file.write(piece)
            size -= len(piece)
    if size:
        raise errors.Refused("read archive", why="ends early")


def _saved_rows(archive: Archive) -> list[SavedImage]:
    body = archive.read("manifest.json", MANIFEST_MAX_BYTES)
    try:
        rows = msgspec.json.decode(body, type=list[SavedImage])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise errors.Refused("read archive", member="manifest.json", why=str(exc)[:300]) from exc
    if not rows or len(rows) > IMAGES_MAX or any(len(row.layers) > LAYERS_MAX for row in rows):
        raise errors.Refused("read archive", member="manifest.json", images=len(rows))
    return rows


def _saved(archive: Archive, row: SavedImage) -> ArchivedImage:
    config = archive.read(row.config, CONFIG_MAX_BYTES)
    diff_ids = parse_config(config).rootfs.diff_ids
    if len(diff_ids) != len(row.layers):
        raise errors.Refused("read archive", layers=len(row.layers), diff_ids=len(diff_ids))
    layers = tuple(
        ArchivedLayer(path=archive.path(name), wanted=Wanted(diff_id=diff_id))
        for name, diff_id in zip(row.layers, diff_ids, strict=True)
    )
    return ArchivedImage(config=config, layers=layers, tags=_tags(row.repo_tags or ()))


def _chosen(rows: Sequence[Descriptor], host: Platform) -> list[Descriptor]:
    """Of rows with the same name and several platforms, the one for this host."""
    groups: dict[str, list[Descriptor]] = {}
    for count, row in enumerate(rows[:IMAGES_MAX]):
        key = _name(row) if row.platform else f"row {count}"
        groups.setdefault(key, []).append(row)
    chosen = []
    for group in groups.values():
        best = best_match(host, [_platform(row) for row in group])
        chosen.append(group[0 if best is None else best])
    if not chosen:
        raise errors.Refused("read archive", member="index.json", why="no image in it")
    return chosen


def _in_layout(archive: Archive, row: Descriptor, host: Platform) -> ArchivedImage:
    body, document = _document(archive, row)
    if isinstance(document, Index):
        best = best_match(host, [_platform(one) for one in document.manifests])
        if best is None:
            raise errors.Missing("choose image", platform=str(host), digest=row.digest)
        body, document = _document(archive, document.manifests[best])
    if isinstance(document, Index):
        raise errors.Refused("read archive", digest=row.digest, why="a list in a list in a list")
    config = archive.blob(document.config.digest, CONFIG_MAX_BYTES)
    layers = tuple(
        ArchivedLayer(
            path=archive.path(_blob_name(layer.digest)),
            wanted=Wanted(digest=layer.digest, size_bytes=layer.size_bytes, diff_id=layer.diff_id),
        )
        for layer in pair_layers(document, parse_config(config))
    )
    return ArchivedImage(
        config=config,
        layers=layers,
        tags=_tags([name] if (name := _name(row)) else ()),
        manifest=body,
        media_type=document.mediaType,
    )


def _document(archive: Archive, row: Descriptor) -> tuple[bytes, Index | Manifest]:
    body = archive.blob(row.digest, MANIFEST_MAX_BYTES)
    return body, parse_document(body, row.mediaType)


def _name(row: Descriptor) -> str:
    """The image's name; a bare tag, which the OCI allows, names no repository."""
    notes = row.annotations or {}
    name = notes.get(CONTAINERD_NAME, "") or notes.get(REF_NAME, "")
    return name if ":" in name or "/" in name else ""


def _tags(names: Sequence[str]) -> tuple[str, ...]:
    """Names in familiar form (Refused where they are none)."""
    try:
        return tuple(parse_reference(name).repo_tag for name in names)
    except errors.Invalid as exc:
        raise errors.Refused("read archive", why=str(exc)) from exc


def _platform(row: Descriptor) -> Platform:
    if row.platform is None:
        return Platform(os="", architecture="")
    found = row.platform
    return Platform(os=found.os, architecture=found.architecture, variant=found.variant)


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _clean(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")
