"""Take the images of an archive into the depot."""

from runtime.contract.image import Progress
from runtime.image.archive import ArchivedImage, ArchivedLayer, read_images, read_pieces, spool
from runtime.image.assemble import build_entry, manifest_for
from runtime.image.catalog import Entry, Names
from runtime.image.depot import LayerInfo
from runtime.image.ingest import Source, on_loop
from runtime.image.platform import Platform
from runtime.image.pull import Gatherer
from runtime.image.untar import Limits


async def load(source: Source, host: Platform, limits: Limits, into: Gatherer) -> list[Entry]:
    """Spool an archive, then unpack its images; the store adopts them.

    Raises:
        Refused: the archive is not whole or lies. Exhausted: disk full.
    Cancel: nothing stays.
    """
    depot = into.depot
    async with depot.spool() as path:

        def read() -> list[ArchivedImage]:
            return read_images(spool(on_loop(source), path, limits), host)

        images = await depot.run("read archive", read, limiter=depot.unpackers)
        return [await _take(image, into) for image in images]


async def _take(image: ArchivedImage, into: Gatherer) -> Entry:
    layers = [await _take_layer(layer, into) for layer in image.layers]
    manifest = image.manifest or manifest_for(image.config, layers)
    await into.depot.add_blob(image.config, into.hold)
    await into.depot.add_blob(manifest, into.hold)
    names = Names(tags=image.tags, media_type=image.media_type)
    return build_entry(manifest, image.config, into.depot, names)


async def _take_layer(layer: ArchivedLayer, into: Gatherer) -> LayerInfo:
    label = layer.wanted.diff_id.removeprefix("sha256:")[:12]
    async with into.depot.making(layer.wanted.diff_id, into.hold) as known:
        if known is not None:
            into.report(Progress(layer=label, status="exists"))
            return known
        into.report(Progress(layer=label, status="extracting"))
        _, info = await into.depot.add_layer(read_pieces(layer.path), layer.wanted, into.hold)
        into.report(Progress(layer=label, status="done", current_bytes=info.blob_bytes))
        return info
