"""A cluster's state as one file: what it says of itself is verified before any of it is used. Pure.

A line that names the format, SHA-256 of the rest, and the rest: msgpack in zstd. It holds the
cluster's secrets, its authority's key among them.
"""

import hashlib
from typing import Final

import msgspec
import zstandard

from nodeagent.errors import Invalid

MAGIC: Final = b"nodeagent cluster backup 1\n"
DIGEST_BYTES: Final = 32
MOST_BYTES: Final = 512 << 20  # unpacked: what is larger is no backup of ours


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one moment, by key; those that live with a node's lease are not among them."""

    cluster: str
    revision: int
    taken: str
    rows: dict[str, bytes]


def is_kept(key: str) -> bool:
    """Whether a backup has the row: one that lives with a node's lease would live for ever."""
    return not key.endswith("/alive") and not key.startswith("fence/")


def build_backup(backup: Backup) -> bytes:
    """The file's content."""
    body = zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(backup))
    return MAGIC + hashlib.sha256(body).digest() + body


def parse_backup(data: bytes) -> Backup:
    """What a file holds.

    Raises:
        Invalid: it is no backup, of a later format, cut off or damaged.
    """
    if not data.startswith(MAGIC):
        kind = "of another format" if data.startswith(MAGIC[:24]) else "no backup of a cluster"
        raise Invalid(f"the file is {kind}", field="file")
    digest = data[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]
    body = data[len(MAGIC) + DIGEST_BYTES :]
    if hashlib.sha256(body).digest() != digest:
        raise Invalid("the backup is damaged or cut off: its checksum does not fit", field="file")
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MOST_BYTES:
            raise Invalid("the backup is larger than any of ours", field="file")
        raw = zstandard.ZstdDecompressor().decompress(body)
        return msgspec.msgpack.decode(raw, type=Backup)
    except (zstandard.ZstdError, msgspec.DecodeError) as exc:
        raise Invalid("the backup cannot be read", field="file", reason=str(exc)) from exc
