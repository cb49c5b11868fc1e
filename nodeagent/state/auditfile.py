"""The audit log on disk: lines of JSON in ``audit.log``, older ones in ``audit.log.1`` and so on.

Each batch is on the disk (fsync) before it counts as written; a file that is full is renamed.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from nodeagent.model.audit import AuditEntry

NAME: Final = "audit.log"


class AuditFile:
    """Appends entries and reads them back. Blocks: for a thread."""

    def __init__(self, folder: Path, *, max_bytes: int, max_files: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_files = max_files

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """Write all of them or none.

        Raises:
            OSError: they are not written, as on a full disk.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = b"".join(msgspec.json.encode(each) + b"\n" for each in entries)
        path = self._folder / NAME
        if path.exists() and path.stat().st_size + len(data) > self._max_bytes:
            self._rotate()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_whole(fd, data)
        finally:
            os.close(fd)

    def _rotate(self) -> None:
        numbered = [self._folder / NAME, *self.older()]
        for number in range(min(len(numbered), self._max_files - 1), 0, -1):
            numbered[number - 1].replace(self._folder / f"{NAME}.{number}")
        for doomed in self.older()[self._max_files - 1 :]:
            doomed.unlink()
        if self._max_files == 1:
            (self._folder / NAME).unlink(missing_ok=True)

    def older(self) -> list[Path]:
        """Files that are full, the newest first."""
        found = [
            path
            for path in self._folder.glob(f"{NAME}.*")
            if path.suffix.removeprefix(".").isdecimal()
        ]
        return sorted(found, key=lambda path: int(path.suffix.removeprefix(".")))

    def files(self) -> list[Path]:
        """All, the oldest first."""
        return [*reversed(self.older()), self._folder / NAME]


def read_entries(path: Path, fits: Callable[[AuditEntry], bool]) -> list[AuditEntry]:
    """Those of one file that fit; a line that was cut short is passed over. Blocks."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:  # it was dropped meanwhile
        return []
    return [entry for line in lines if (entry := _decode(line)) is not None and fits(entry)]


def _decode(line: bytes) -> AuditEntry | None:
    try:
        return msgspec.json.decode(line, type=AuditEntry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write_whole(fd: int, data: bytes) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":  # killed, or out of power, while writing
        data = b"\n" + data
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fdatasync(fd)
    except OSError:
        os.ftruncate(fd, size)
        raise
