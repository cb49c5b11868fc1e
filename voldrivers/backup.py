"""Backups of volumes: a tree for each moment, in which unchanged files are links to the last one.

TARGET/VOLUME/20261126T120000Z is complete as soon as it has that name; what a kill leaves is a
``.part`` that the next backup removes. Every tree is whole by itself: tar, cp and rsync read it.
"""

import os
import re
from pathlib import Path
from typing import Final

import trio

from voldrivers.contract import BackupReport
from voldrivers.copytree import Shared, TooDeep, copy_beside, copy_metadata
from voldrivers.errors import Conflict, Refused
from voldrivers.folders import translated
from voldrivers.inroot import FOLDER, sync_filesystem
from voldrivers.tree import delete_tree

PART: Final = ".part"
STAMP: Final = re.compile(r"\d{8}T\d{6}Z")


class TreeBackups:
    """``voldrivers.contract.Backups``."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)  # backups compete for one disk

    async def write(self, source: Path, target: Path, stamp: str, *, keep: int) -> BackupReport:
        """Write one tree below ``target``; delete the oldest of more than ``keep`` (0 = none).

        Raises:
            Conflict: there is one of this second. Exhausted: the disk is full; the others stay.
        """
        return await trio.to_thread.run_sync(
            _write, source, target, stamp, keep, limiter=self._limiter
        )


def _write(source: Path, target: Path, stamp: str, keep: int) -> BackupReport:
    with translated("write the backup", target.name):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        top = os.open(target, FOLDER)
        try:
            shared = _write_tree(source, top, stamp)
            for old in _stamps(top)[:-keep] if keep else ():
                delete_tree(top, old)
        finally:
            os.close(top)
    return BackupReport(files=shared.files, bytes=shared.bytes, shared_files=shared.shared_files)


def _write_tree(source: Path, top: int, stamp: str) -> Shared:
    for name in _names(top):
        if name.startswith((PART, ".trash-")):
            delete_tree(top, name)
    before = _stamps(top)
    if stamp in before:
        raise Conflict("there is a backup of this second", name=stamp)
    os.mkdir(PART, 0o700, dir_fd=top)
    reading, writing = os.open(source, FOLDER), os.open(PART, FOLDER, dir_fd=top)
    earlier = os.open(before[-1], FOLDER, dir_fd=top) if before else None
    try:
        shared = copy_beside(reading, writing, earlier, check=trio.from_thread.check_cancelled)
        copy_metadata(reading, writing)
        sync_filesystem(writing)
    except TooDeep as exc:
        raise Refused("the volume is nested too deeply", at=str(exc)) from exc
    finally:
        for fd in (reading, writing, earlier):
            if fd is not None:
                os.close(fd)
    os.rename(PART, stamp, src_dir_fd=top, dst_dir_fd=top)
    os.fsync(top)
    return shared


def _names(top: int) -> list[str]:
    with os.scandir(top) as entries:
        return sorted(entry.name for entry in entries)


def _stamps(top: int) -> list[str]:
    """The oldest first."""
    return [name for name in _names(top) if STAMP.fullmatch(name)]
