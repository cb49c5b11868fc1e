"""One layer from a stream to a directory: hash, keep, decompress, hash, unpack. Blocking.

Runs in a worker thread and asks the event loop for each chunk, so no part is ever wholly in memory
and a cancelled pull unwinds here too.
"""

import errno
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import trio

from runtime import errors
from runtime.image.decompress import Form, decompressed, form_of, peek
from runtime.image.manifest import OCI_LAYER
from runtime.image.untar import Limits, Unpacked, untar

# Gives the next bytes of a stream, b"" at its end; runs on the event loop.
Source = Callable[[], Awaitable[bytes]]
MEDIA_TYPES: Final[dict[Form, str]] = {
    "tar": OCI_LAYER,
    "gzip": f"{OCI_LAYER}+gzip",
    "zstd": f"{OCI_LAYER}+zstd",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the stream must turn out to be; "" and -1 are not known before."""

    digest: str = ""
    size_bytes: int = -1
    diff_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What the stream was. ``blob`` and ``layer/fs`` are in the draft directory."""

    digest: str
    blob_bytes: int
    media_type: str
    diff_id: str
    unpacked: Unpacked


class Tally:
    """A hash and a length over chunks that pass by."""

    def __init__(self, what: Literal["blob", "layer"], limit: int) -> None:
        self._hash = hashlib.sha256()
        self._what = what
        self._limit = limit
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def over(self, chunks: Iterator[bytes], *, keep: BinaryIO | None = None) -> Iterator[bytes]:
        """Pass chunks on, counted, hashed and written; Refused above the limit."""
        for chunk in chunks:
            self.size_bytes += len(chunk)
            if self.size_bytes > self._limit:
                raise errors.Refused(f"read {self._what}", why="too long", limit=self._limit)
            self._hash.update(chunk)
            if keep is not None:
                keep.write(chunk)
            yield chunk


def ingest(chunks: Iterator[bytes], draft: Path, wanted: Wanted, limits: Limits) -> Ingested:
    """Make ``draft/blob`` and ``draft/layer/fs`` from a stream.

    Raises:
        Refused: a hash, a size or the tar is wrong.
        OSError: the disk's answer.
    """
    (draft / "layer" / "fs").mkdir(mode=0o755, parents=True)
    (draft / "layer" / "fs").chmod(0o755)
    head, chunks = peek(chunks)
    form = form_of(head)
    # The layout knows three forms; a root filesystem in another one is kept as plain tar.
    known = form in MEDIA_TYPES
    blob = Tally("blob", wanted.size_bytes if wanted.size_bytes >= 0 else limits.stream_bytes)
    layer = Tally("layer", limits.stream_bytes)
    with (draft / "blob").open("xb") as file:
        raw = blob.over(chunks, keep=file if known else None)
        plain = layer.over(decompressed(form, raw), keep=None if known else file)
        unpacked = untar(plain, draft / "layer" / "fs", limits)
        for _rest in raw:  # padding after the last compressed member is hashed too
            pass
    made = Ingested(
        digest=blob.digest if known else layer.digest,
        blob_bytes=blob.size_bytes if known else layer.size_bytes,
        media_type=MEDIA_TYPES.get(form, OCI_LAYER),
        diff_id=layer.digest,
        unpacked=unpacked,
    )
    _check(made, wanted)
    return made


def on_loop(source: Source) -> Iterator[bytes]:
    """The stream as a plain iterator, from a worker thread."""
    while chunk := trio.from_thread.run(source):
        yield chunk


def failure_of(doing: str, exc: OSError) -> errors.RunError:
    """The disk's answer as one of our errors."""
    if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}:
        return errors.Exhausted(doing, error=exc.strerror)
    return errors.Refused(doing, error=exc.strerror, path=str(exc.filename or ""))


def _check(made: Ingested, wanted: Wanted) -> None:
    facts = (
        ("size", made.blob_bytes, wanted.size_bytes, wanted.size_bytes >= 0),
        ("digest", made.digest, wanted.digest, bool(wanted.digest)),
        ("diff_id", made.diff_id, wanted.diff_id, bool(wanted.diff_id)),
    )
    for name, got, want, known in facts:
        if known and got != want:
            raise errors.Refused("verify layer", field=name, got=got, want=want)
