"""What keeping and reading logs offers, as data and Protocols.

A log is a row of files, called generations, that are counted up and never renumbered: a place in
one is a place for ever, or until the file is dropped, and then whoever comes for it is told.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cursor:
    """A place in a log: bytes of a generation, as they were before it was compressed."""

    generation: int
    offset: int

    def __str__(self) -> str:
        return f"{self.generation}:{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One record of a container's log. ``data`` keeps its newline unless it is a partial line.

    ``lost``: not 0 = no record, but so many files were dropped before they could be read here.
    """

    time_ns: int
    stream: Literal["stdout", "stderr"]
    data: bytes
    cursor: Cursor | None = None  # where reading goes on behind it; None for a torn end
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What part of a log is wanted; 0 is no bound, a tail of -1 is all.

    ``after`` goes before ``tail``: reading begins there, or at what is left behind it.
    """

    follow: bool = False
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1
    after: Cursor | None = None

    def takes(self, line: LogLine) -> bool:
        return line.time_ns >= self.since_ns

    def is_past(self, line: LogLine) -> bool:
        return bool(self.until_ns) and line.time_ns > self.until_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A rotated file as it lies on disk."""

    generation: int
    size_bytes: int
    compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    """Files that were dropped; not complete while conmon still writes to the last rotated one."""

    dropped: int
    is_complete: bool


class Logbook(Protocol):
    """The logs of containers. They outlive the containers' processes."""

    def path(self, container_id: str) -> Path:
        """Where the present file is, or will be."""
        ...

    def size(self, container_id: str) -> int:
        """Bytes of the present file; 0 without one."""
        ...

    def read(
        self,
        container_id: str,
        query: Query,
        ended: Callable[[], Awaitable[object]] | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        """Lines, oldest first; with ``follow`` until the container, or ``ended``, has ended."""
        ...

    def read_batches(
        self, container_id: str, after: Cursor, ended: Callable[[], Awaitable[object]]
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        """Follow without an inotify watch: what came in a moment comes together.

        What is in memory is one chunk of the file; the log itself is the buffer.
        """
        ...

    async def rotate(self, container_id: str) -> None:
        """Begin a new file; readers lose nothing."""

    async def tidy(
        self, container_id: str, *, keep: int, compress: bool, ended: bool = False
    ) -> Tidied:
        """Keep so many older files, compressed (Exhausted: the disk is full).

        Args:
            ended: nobody writes to any of them.
        """
        ...

    async def files(self, container_id: str) -> list[LogFile]:
        """Rotated files, oldest first."""
        ...

    async def drop(self, container_id: str, generation: int) -> None:
        """Delete a rotated file."""

    async def read_shipped(self, container_id: str) -> Cursor:
        """How far the log was shipped; its beginning if it never was."""
        ...

    async def write_shipped(self, container_id: str, cursor: Cursor) -> None:
        """Remember that, also over a kill of the agent."""

    async def remove(self, container_id: str) -> None:
        """Delete the log and all that belongs to it."""
