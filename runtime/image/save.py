"""Write images as one archive that both ``docker load`` and readers of OCI layouts take. Blocking.

It is a layout (``oci-layout``, ``index.json``, ``blobs/``) and Docker's ``manifest.json``,
as Docker itself writes since 25. A layer that images share is in it once.
"""

import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from runtime.image.archive import CONTAINERD_NAME, SavedImage
from runtime.image.catalog import REF_NAME
from runtime.image.manifest import Descriptor, Index, digest_of
from runtime.image.parcel import Blob, Parcel
from runtime.image.reference import parse_reference

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
BLOCK: Final = 512
READ_BYTES: Final = 1 << 20
Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One image and the names it has in the archive; none is fine."""

    parcel: Parcel
    tags: tuple[str, ...]  # "busybox:latest"


def write_archive(images: Sequence[Saved], write: Write) -> None:
    """Write all images; nothing of an archive is kept in memory but documents."""
    _member(write, "oci-layout", LAYOUT)
    blobs: dict[str, Blob | bytes] = {}
    for image in images:
        parcel = image.parcel
        blobs |= {each.digest: each for each in (parcel.config, *parcel.layers)}
        blobs[parcel.digest] = parcel.manifest
    for digest, blob in sorted(blobs.items()):
        if isinstance(blob, bytes):
            _member(write, _path(digest), blob)
        else:
            _file(write, blob)
    _member(write, "index.json", msgspec.json.encode(_index(images)))
    _member(write, "manifest.json", msgspec.json.encode([_row(image) for image in images]))
    write(bytes(2 * BLOCK))


def _index(images: Sequence[Saved]) -> Index:
    """A line for each name, and one for what has none."""
    return Index(
        manifests=[
            Descriptor(
                mediaType=image.parcel.media_type,
                digest=digest_of(image.parcel.manifest),
                size=len(image.parcel.manifest),
                annotations=_names(tag) if tag else None,
            )
            for image in images
            for tag in image.tags or ("",)
        ]
    )


def _names(tag: str) -> dict[str, str]:
    ref = parse_reference(tag)
    return {CONTAINERD_NAME: f"{ref.domain}/{ref.path}:{ref.tag}", REF_NAME: ref.tag}


def _row(image: Saved) -> SavedImage:
    return SavedImage(
        config=_path(image.parcel.config.digest),
        repo_tags=list(image.tags),
        layers=[_path(digest) for digest in image.parcel.layer_digests],
    )


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _member(write: Write, name: str, data: bytes) -> None:
    write(_head(name, len(data)) + data + bytes(-len(data) % BLOCK))


def _file(write: Write, blob: Blob) -> None:
    write(_head(_path(blob.digest), blob.size_bytes))
    with blob.path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            write(piece)
    write(bytes(-blob.size_bytes % BLOCK))


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
