"""An image out of its parts: manifest, config and what the depot knows of its layers."""

from collections.abc import Sequence

from runtime import errors
from runtime.contract.image import Image
from runtime.image.catalog import Entry, Names
from runtime.image.depot import Depot, LayerInfo
from runtime.image.manifest import (
    OCI_CONFIG,
    Descriptor,
    Index,
    build_config,
    build_manifest,
    digest_of,
    history_of,
    pair_layers,
    parse_config,
    parse_document,
    platform_of,
    run_config,
)
from runtime.image.platform import Platform
from runtime.imageconfig import ImageConfig


def build_entry(manifest: bytes, config: bytes, depot: Depot, names: Names) -> Entry:
    """Put an image together from documents and unpacked layers.

    Raises:
        Refused: a document is malformed, or they do not fit. Missing: a layer is not here.
    """
    document = parse_document(manifest, names.media_type)
    if isinstance(document, Index) or document.config.digest != digest_of(config):
        raise errors.Refused("assemble image", why="manifest and config do not fit")
    parsed = parse_config(config)
    layers = pair_layers(document, parsed)
    sizes = [_layer(depot, layer.diff_id).size_bytes for layer in layers]
    platform = platform_of(parsed)
    image = Image(
        id=document.config.digest,
        manifest_digest=digest_of(manifest),
        index_digest=names.index_digest,
        repo_tags=names.tags,
        repo_digests=names.repo_digests,
        created=parsed.created or "",
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        config=run_config(parsed),
        diff_ids=tuple(layer.diff_id for layer in layers),
        layer_digests=tuple(layer.digest for layer in layers),
        history=history_of(parsed, sizes),
        size_bytes=sum(sizes),
    )
    return Entry(
        image=image,
        manifest=Descriptor(
            mediaType=document.mediaType, digest=image.manifest_digest, size=len(manifest)
        ),
    )


async def read_entry(depot: Depot, digest: str, names: Names) -> Entry:
    """Read an image that the store has (Refused, Missing)."""
    manifest = await _read(depot, digest)
    document = parse_document(manifest, names.media_type)
    if isinstance(document, Index):
        raise errors.Refused("read image", digest=digest, why="a list, not an image")
    config = await _read(depot, document.config.digest)
    return build_entry(manifest, config, depot, names)


def one_layer_image(
    config: ImageConfig,
    diff_id: str,
    layer: LayerInfo,
    *,
    platform: Platform,
    created: str,
    message: str,
) -> tuple[bytes, bytes]:
    """The manifest and config of an imported root filesystem."""
    body = build_config(config, diff_id, platform=platform, created=created, message=message)
    return manifest_for(body, [layer]), body


def manifest_for(config: bytes, layers: Sequence[LayerInfo]) -> bytes:
    """A manifest for an image that came without one."""
    return build_manifest(
        Descriptor(mediaType=OCI_CONFIG, digest=digest_of(config), size=len(config)),
        [
            Descriptor(mediaType=one.media_type, digest=one.digest, size=one.blob_bytes)
            for one in layers
        ],
    )


def _layer(depot: Depot, diff_id: str) -> LayerInfo:
    info = depot.layer(diff_id)
    if info is None:
        raise errors.Missing("assemble image", layer=diff_id)
    return info


async def _read(depot: Depot, digest: str) -> bytes:
    data = await depot.read_blob(digest)
    if digest_of(data) != digest:
        raise errors.Refused("read blob", digest=digest, why="its content changed")
    return data
