"""The files of one log: ``ctr.log`` now, ``ctr.log.7`` or ``ctr.log.7.gz`` before it.

The number counts up, so that a place in a file stays one. Rotating renames; conmon writes to the
renamed file until it was told to open a new one, and the new one appears only when it is done with
the old: from then on that one is sealed, and may be compressed or dropped. The highest number is
never forgotten: of a file dropped at the end of the row ``ctr.log.7.gone`` stays.

Source: conmon 2.1 ctr_logging.c, reopen_k8s_file.
"""

import contextlib
import errno
import gzip
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from runtime.contract.logs import LogFile, Tidied
from runtime.errors import Exhausted

CHUNK_BYTES: Final = 64 << 10
ROTATED: Final = re.compile(r"\.(\d{1,9})(\.gz|\.gone)?")
NEXT: Final = ".tmp"  # conmon opens it, and renames it to the present file
HALF: Final = ".half"  # of a file that is being compressed
GZIP_WBITS: Final = 31
GZIP_LEVEL: Final = 1  # 1 GB/s, an access log to a tenth; levels 2 and 3 gain nothing (2026-11)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Generation:
    """One rotated file; a ``gone`` one is only its number."""

    number: int
    path: Path
    kind: str  # "" as written, ".gz" or ".gone"


def list_rotated(path: Path) -> list[Generation]:
    """Rotated files, oldest first; of one that is there twice the uncompressed one."""
    found: dict[int, Generation] = {}
    for entry in sorted(path.parent.glob(f"{path.name}.*")):
        match = ROTATED.fullmatch(entry.name.removeprefix(path.name))
        if match is None:
            continue
        made = Generation(number=int(match[1]), path=entry, kind=match[2] or "")
        known = found.get(made.number)
        if known is None or (known.kind and not made.kind) or known.kind == ".gone":
            found[made.number] = made
    return [found[number] for number in sorted(found)]


def next_number(rotated: Sequence[Generation]) -> int:
    """The number of the present file."""
    return rotated[-1].number + 1 if rotated else 1


def rotate(path: Path) -> bool:
    """Put the present file aside under its number; False if there is none.

    Raises:
        Exhausted: there is no room for a new file.
    """
    if not path.exists():
        return False
    number = next_number(list_rotated(path))
    try:
        # conmon ends, and the container with it, if it cannot make this one
        path.with_name(path.name + NEXT).touch(mode=0o600)
    except OSError as exc:
        raise Exhausted("rotate log", path=path, errno=exc.errno) from exc
    try:
        path.rename(path.with_name(f"{path.name}.{number}"))
    except FileNotFoundError:  # removed at this moment
        return False
    return True


def tidy(path: Path, *, keep: int, compress: bool, ended: bool = False) -> Tidied:
    """Drop all rotated files but the newest ``keep``, and compress those that are sealed.

    Args:
        ended: all are, for nobody writes any more.

    Raises:
        Exhausted: the disk is full; what is there stays as it is.
    """
    for half in path.parent.glob(f"{path.name}.*{HALF}"):
        half.unlink(missing_ok=True)
    rotated = list_rotated(path)
    sealed = rotated if ended or path.exists() else rotated[:-1]
    leaving = [each for each in sealed[: max(len(rotated) - keep, 0)] if each.kind != ".gone"]
    for each in leaving:
        drop(path, each.number)
    if compress:
        for each in list_rotated(path):
            if each.kind == "" and each in sealed:
                pack(each.path)
    return Tidied(dropped=len(leaving), is_complete=len(sealed) == len(rotated))


def pack(source: Path) -> None:
    """Replace a file by its compressed form, whole or not at all."""
    target = source.with_name(source.name + ".gz")
    half = source.with_name(source.name + HALF)
    try:
        with source.open("rb") as old, half.open("xb") as raw:
            packer = isal_zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WBITS)
            while data := old.read(CHUNK_BYTES):
                raw.write(packer.compress(data))
            raw.write(packer.flush())
            raw.flush()
            os.fsync(raw.fileno())  # what it replaces is deleted
        half.replace(target)
        source.unlink()
    except OSError as exc:
        half.unlink(missing_ok=True)
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise Exhausted("compress log", path=source, errno=exc.errno) from exc


def drop(path: Path, number: int) -> None:
    """Delete a rotated file; the highest number stays known."""
    rotated = list_rotated(path)
    if rotated and number == rotated[-1].number:
        path.with_name(f"{path.name}.{number}.gone").touch(mode=0o600)
        rotated.pop()
    for suffix in ("", ".gz"):
        path.with_name(f"{path.name}.{number}{suffix}").unlink(missing_ok=True)
    for each in rotated:
        if each.kind == ".gone":
            each.path.unlink(missing_ok=True)


def measure(path: Path) -> list[LogFile]:
    """Rotated files with their sizes on disk, oldest first."""
    found = []
    for each in list_rotated(path):
        with contextlib.suppress(FileNotFoundError):  # compressed or dropped meanwhile
            if each.kind != ".gone":
                size = each.path.stat().st_size
                found.append(
                    LogFile(generation=each.number, size_bytes=size, compressed=bool(each.kind))
                )
    return found


@dataclass(slots=True, kw_only=True)
class Opened:
    """A file of the log that is open for reading; ``file`` counts bytes as they were written."""

    number: int
    file: BinaryIO
    packed: bool = False  # reads forwards only; backwards is from the beginning


def open_current(path: Path) -> Opened | None:
    """Open the present file, with its right number whoever rotates at this moment."""
    while True:
        number = next_number(list_rotated(path))
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        if next_number(list_rotated(path)) == number:
            return Opened(number=number, file=file)
        file.close()


def open_rotated(each: Generation) -> Opened | None:
    """Open a rotated file; None if it is gone. One compressed just now is opened as that."""
    if each.kind == "":
        with contextlib.suppress(FileNotFoundError):
            return Opened(number=each.number, file=each.path.open("rb"))
    name = each.path if each.kind else each.path.with_name(each.path.name + ".gz")
    with contextlib.suppress(FileNotFoundError):
        if each.kind != ".gone":
            return Opened(
                number=each.number, file=cast("BinaryIO", gzip.open(name, "rb")), packed=True
            )
    return None


def same_file(one: BinaryIO, path: Path) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(one.fileno()), path.stat())
    except FileNotFoundError:
        return False
