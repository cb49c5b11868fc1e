"""The config of an image that is another one with one more layer. Pure."""

import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from runtime import errors
from runtime.contract.image import Commit
from runtime.image.manifest import HistoryJson, run_json

GZIP: Final = 31  # zlib's window bits for a gzip frame; its time is zero, so equal bytes stay equal
LEVEL: Final = 6  # gzip's own default
# What old Dockers wrote of the container an image was made in: nonsense in another image.
STALE: Final = ("id", "parent", "container", "container_config")


def child_config(parent: bytes, draft: Commit, diff_id: str) -> bytes:
    """The parent's document, changed; what we do not know of it stays (Refused)."""
    try:
        document = msgspec.json.decode(parent, type=dict[str, object])
        rootfs = msgspec.convert(document.get("rootfs"), dict[str, object])
        layers = msgspec.convert(rootfs.get("diff_ids") or [], list[str])
        rows = msgspec.convert(document.get("history") or [], list[object])
    except msgspec.MsgspecError as exc:
        raise errors.Refused("read config", why=str(exc)[:300]) from exc
    row = HistoryJson(
        created=draft.created, created_by=draft.created_by, comment=draft.message or None
    )
    for key in STALE:
        document.pop(key, None)
    document |= {
        "created": draft.created,
        "config": run_json(draft.config),
        "rootfs": {**rootfs, "diff_ids": [*layers, diff_id]},
        "history": [*rows, row],
    }
    if draft.author:
        document["author"] = draft.author
    return msgspec.json.encode(document)


def gzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in one gzip frame."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()
