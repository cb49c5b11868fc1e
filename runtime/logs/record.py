"""The log that conmon writes, in its k8s-file form: bytes in, whole lines of the program out. Pure.

A record is ``2026-01-31T12:00:00.123456789+00:00 stdout F text``; ``P`` marks a part of a line.

Source: conmon 2.1 ctr_logging.c; KEP-2411.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

from runtime.contract.logs import Cursor, LogLine

JOIN_MAX_BYTES: Final = 1 << 20  # a longer line comes in pieces
LINE_MAX_BYTES: Final = 1 << 20  # conmon writes 8 KiB at most; more than that is not its file
NS: Final = 1_000_000_000
RECORD: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?: |$)"
)
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  compared with its like only


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the file."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    whole: bool
    data: bytes


@lru_cache(maxsize=64)
def _seconds(text: bytes, zone: bytes) -> int:
    """Seconds since the epoch; cached, for neighbours share their second."""
    moment = datetime.strptime(text.decode(), "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007  zone below
    if zone != b"Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment = moment + shift if zone[:1] == b"-" else moment - shift
    return (moment - EPOCH) // timedelta(seconds=1)


def parse_record(line: bytes) -> Record | None:
    """One line without its newline; None if it is none of conmon's (a torn write)."""
    match = RECORD.match(line)
    if match is None:
        return None
    text, fraction, zone, stream, tag = match.groups()
    try:
        seconds = _seconds(text, zone)
    except (ValueError, OverflowError):
        return None
    return Record(
        time_ns=seconds * NS + int((fraction or b"0").ljust(9, b"0")),
        stream="stdout" if stream == b"stdout" else "stderr",
        whole=tag == b"F",
        data=line[match.end() :],
    )


def is_whole(line: bytes) -> bool | None:
    """Whether a raw line ends a line of the program; None if it is no record."""
    match = RECORD.match(line)
    return None if match is None else match.group(5) == b"F"


class Joiner:
    """Bytes of the files in, lines as the program wrote them out, each with where it leads.

    The cursor of a line is the place behind it, or the first part of a line that is still open
    there: who goes on at it misses nothing.
    """

    def __init__(self, generation: int = 0, offset: int = 0) -> None:
        self._generation = generation
        self._offset = offset  # of ``_rest``
        self._rest = b""
        self._parts: dict[str, list[Record]] = {"stdout": [], "stderr": []}
        self._sizes = {"stdout": 0, "stderr": 0}
        self._begun: dict[str, Cursor] = {}  # where the open line of a stream began

    def begin(self, generation: int, offset: int = 0) -> None:
        """The bytes that follow are of another file; a torn end of the last one is dropped."""
        self._generation, self._offset, self._rest = generation, offset, b""

    def feed(self, data: bytes) -> Iterator[LogLine]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            at = self._offset
            self._offset += len(line) + 1
            record = parse_record(line)
            if record is not None and (joined := self._join(record, at)) is not None:
                yield joined
        if len(self._rest) > LINE_MAX_BYTES:
            self._offset += len(self._rest)
            self._rest = b""

    def flush(self) -> Iterator[LogLine]:
        """Lines that never ended; empty afterwards."""
        pending = [parts for parts in self._parts.values() if parts]
        for parts in sorted(pending, key=lambda each: each[0].time_ns):
            yield self._take(parts[0].stream, whole=False)

    def _join(self, record: Record, at: int) -> LogLine | None:
        stream = record.stream
        if not self._parts[stream] and not record.whole:
            self._begun[stream] = Cursor(generation=self._generation, offset=at)
        self._parts[stream].append(record)
        self._sizes[stream] += len(record.data)
        if record.whole or self._sizes[stream] >= JOIN_MAX_BYTES:
            return self._take(stream, whole=record.whole)
        return None

    def _take(self, stream: Literal["stdout", "stderr"], *, whole: bool) -> LogLine:
        parts, self._parts[stream], self._sizes[stream] = self._parts[stream], [], 0
        self._begun.pop(stream, None)
        here = Cursor(generation=self._generation, offset=self._offset)
        return LogLine(
            time_ns=parts[0].time_ns,
            stream=stream,
            data=b"".join(part.data for part in parts) + (b"\n" if whole else b""),
            cursor=min([here, *self._begun.values()]) if self._begun else here,
        )
