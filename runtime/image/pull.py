"""Fetch one image: choose it, verify it, and gather its layers in parallel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import trio

from runtime import errors
from runtime.contract.image import Progress
from runtime.image.assemble import build_entry
from runtime.image.blobstream import BlobStream
from runtime.image.catalog import Entry, Names
from runtime.image.depot import Depot, Hold
from runtime.image.ingest import Source, Wanted, on_loop
from runtime.image.manifest import (
    CONFIG_MAX_BYTES,
    ConfigJson,
    Index,
    LayerRef,
    Manifest,
    PlatformJson,
    pair_layers,
    parse_config,
    parse_document,
    platform_of,
)
from runtime.image.platform import Platform, best_match, fits
from runtime.image.reference import Reference
from runtime.image.registry import Document, Registry
from runtime.image.together import together

LAYERS_AT_ONCE: Final = 4
REPORT_S: Final = 0.1
BATCH_BYTES: Final = 256 << 10  # TLS gives 16 KiB at a time, and a hop to a thread costs 60 us
Status = Literal["waiting", "exists", "downloading", "retrying", "extracting", "done"]
Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatherer:
    """Where an operation puts what it gathers, and whom it tells."""

    depot: Depot
    hold: Hold
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The image chosen from what the registry has under the name."""

    document: Document
    manifest: Manifest
    index: Document | None


async def pull(
    registry: Registry, ref: Reference, want: Platform, *, exact: bool, into: Gatherer
) -> Entry:
    """Fetch an image with all its layers; the store adopts it.

    Args:
        exact: whether the caller named the platform, so that another one will not do.

    Raises:
        Missing, Refused, Unavailable, Exhausted.
    """
    into.report(Progress(layer="", status="resolving"))
    choice = await _choose(registry, ref, want)
    config = await _config(registry, choice.manifest)
    parsed = parse_config(config)
    _check_platform(parsed, want, exact=exact)
    await _fetch_layers(registry, pair_layers(choice.manifest, parsed), into)
    for body in (config, choice.document.body, choice.index.body if choice.index else b""):
        if body:
            await into.depot.add_blob(body, into.hold)
    top = choice.index or choice.document
    into.report(Progress(layer="", status="done"))
    names = Names(
        tags=(ref.repo_tag,) if ref.tag and not ref.digest else (),
        repo_digests=(ref.repo_digest(top.digest),),
        index_digest=choice.index.digest if choice.index else "",
        media_type=choice.document.content_type,
    )
    return build_entry(choice.document.body, config, into.depot, names)


async def _choose(registry: Registry, ref: Reference, want: Platform) -> Choice:
    top = await registry.manifest(ref.digest or ref.tag)
    parsed = parse_document(top.body, top.content_type)
    if isinstance(parsed, Manifest):
        return Choice(document=top, manifest=parsed, index=None)
    row = best_match(want, [_platform(one.platform) for one in parsed.manifests])
    if row is None:
        offered = ", ".join(str(_platform(one.platform)) for one in parsed.manifests)
        raise errors.Missing("choose image", platform=str(want), offered=offered[:500])
    descriptor = parsed.manifests[row]
    chosen = await registry.manifest(descriptor.digest)
    inner = parse_document(chosen.body, chosen.content_type or descriptor.mediaType)
    if isinstance(inner, Index) or len(chosen.body) != descriptor.size:
        raise errors.Refused("choose image", digest=descriptor.digest, why="not what the list says")
    return Choice(document=chosen, manifest=inner, index=top)


async def _config(registry: Registry, manifest: Manifest) -> bytes:
    size = manifest.config.size
    if size > CONFIG_MAX_BYTES:
        raise errors.Refused("fetch image config", size=size, limit=CONFIG_MAX_BYTES)
    digest = manifest.config.digest
    return await registry.retried(lambda: registry.blob_body(digest, size))


def _check_platform(config: ConfigJson, want: Platform, *, exact: bool) -> None:
    """Refuse another system; another processor only if one was asked for (as Docker)."""
    found = platform_of(config)
    if found.os != want.os:
        raise errors.Refused("choose image", platform=str(found), want=str(want))
    if exact and not fits(want, found):
        raise errors.Missing("choose image", platform=str(want), offered=str(found))


async def _fetch_layers(registry: Registry, layers: tuple[LayerRef, ...], into: Gatherer) -> None:
    """Gather layers in parallel; the first failure stops the others."""
    limiter = trio.CapacityLimiter(LAYERS_AT_ONCE)
    await together(
        [partial(_fetch_layer, registry, layer, into, limiter) for layer in dict.fromkeys(layers)]
    )


async def _fetch_layer(
    registry: Registry, layer: LayerRef, into: Gatherer, limiter: trio.CapacityLimiter
) -> None:
    told = Teller(layer, into.report)
    told.tell("waiting")
    async with into.depot.making(layer.diff_id, into.hold) as known, limiter:
        if known is not None:
            told.tell("exists")
            return
        stream = registry.blob(layer.digest, layer.size_bytes, lambda: told.tell("retrying"))
        try:
            wanted = Wanted(digest=layer.digest, size_bytes=layer.size_bytes, diff_id=layer.diff_id)
            await into.depot.add_layer(on_loop(told.over(stream)), wanted, into.hold)
        finally:
            await stream.aclose()
        told.tell("done", layer.size_bytes)


class Teller:
    """Tells how one layer comes along, at most ten times a second."""

    def __init__(self, layer: LayerRef, report: Report) -> None:
        self._layer = layer
        self._report = report
        self._next_s = 0.0

    def tell(self, status: Status, current_bytes: int = 0) -> None:
        self._report(
            Progress(
                layer=self._layer.digest.removeprefix("sha256:")[:12],
                status=status,
                current_bytes=current_bytes,
                total_bytes=self._layer.size_bytes,
            )
        )

    def over(self, stream: BlobStream) -> Source:
        """The stream, with its progress told."""

        async def step() -> bytes:
            batch = bytearray()
            while len(batch) < BATCH_BYTES and (piece := await stream.receive()):
                batch += piece
                now_s = trio.current_time()
                if now_s >= self._next_s:
                    self._next_s = now_s + REPORT_S
                    self.tell("downloading", stream.offset)
            if not batch:
                self.tell("extracting", stream.offset)
            return bytes(batch)

        return step


def _platform(found: PlatformJson | None) -> Platform:
    found = found or PlatformJson()
    return Platform(os=found.os, architecture=found.architecture, variant=found.variant)
