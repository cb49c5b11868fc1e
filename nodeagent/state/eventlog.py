"""Events on disk: two files of lines of JSON, the older one dropped when the newer is full.

What is written survives the agent's end however it comes; no fsync, so the last seconds before a
host loses power may be missing. An event is news, no promise: the promises are in the store.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from nodeagent.model.system import Event

PART_BYTES: Final = 1 << 20  # of each file; some 4,000 events
log = logging.getLogger(__name__)


class EventLog:
    """Appends events and reads them back. Blocks: for a thread."""

    def __init__(self, folder: Path, *, part_bytes: int = PART_BYTES) -> None:
        self._now, self._before = folder / "now.ndjson", folder / "before.ndjson"
        self._part_bytes = part_bytes

    def load(self) -> list[Event]:
        """What was kept, oldest first; what is no event (a line cut short) is left out."""
        self._now.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [event for path in (self._before, self._now) for event in _read(path)]

    def append(self, events: Sequence[Event]) -> None:
        """Write all of them or none.

        Raises:
            OSError: they are not written, as on a full disk.
        """
        data = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
        fd = os.open(self._now, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            _write_whole(fd, data, size)
        finally:
            os.close(fd)
        if size + len(data) >= self._part_bytes:
            self._now.replace(self._before)


def _write_whole(fd: int, data: bytes, size: int) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        os.ftruncate(fd, size)
        raise


def _read(path: Path) -> Iterator[Event]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:  # killed while writing: the next line begins anew
        os.truncate(path, len(whole))
    for line in whole.splitlines():
        try:
            yield msgspec.json.decode(line, type=Event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("a line of the events is none", extra={"path": str(path)})
