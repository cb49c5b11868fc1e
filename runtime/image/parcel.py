"""All parts of one image, as they leave this host: documents, and blobs by their files."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime import errors
from runtime.contract.image import Image
from runtime.image.assemble import manifest_for
from runtime.image.depot import Depot, LayerInfo
from runtime.image.manifest import Index, Manifest, digest_of, parse_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One blob and where it lies."""

    digest: str
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """``layer_digests``: as the manifest has them, base first; ``layers``: each blob once."""

    manifest: bytes
    media_type: str
    config: Blob
    layer_digests: tuple[str, ...]
    layers: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digest_of(self.manifest)


async def make_parcel(image: Image, depot: Depot) -> Parcel:
    """Put the parts together.

    The manifest is the one the image came with; only if it names a layer in a compression that we
    never fetched, as another image brought the same layer in another one, a new one is made.

    Raises:
        Missing: a part is gone.
    """
    body = await depot.read_blob(image.manifest_digest)
    document = parse_document(body, "")
    if isinstance(document, Index):
        raise errors.Refused("pack image", digest=image.manifest_digest, why="a list")
    if any(depot.blob_size(each.digest) is None for each in document.layers):
        config = await depot.read_blob(image.id)
        body = manifest_for(config, [_layer(depot, each) for each in image.diff_ids])
        document = msgspec.json.decode(body, type=Manifest)
    digests = tuple(each.digest for each in document.layers)
    return Parcel(
        manifest=body,
        media_type=document.mediaType,
        config=_blob(depot, document.config.digest),
        layer_digests=digests,
        layers=tuple(_blob(depot, digest) for digest in dict.fromkeys(digests)),
    )


def _blob(depot: Depot, digest: str) -> Blob:
    size = depot.blob_size(digest)
    if size is None:
        raise errors.Missing("pack image", blob=digest)
    return Blob(digest=digest, size_bytes=size, path=depot.blob_path(digest))


def _layer(depot: Depot, diff_id: str) -> LayerInfo:
    info = depot.layer(diff_id)
    if info is None:
        raise errors.Missing("pack image", layer=diff_id)
    return info
