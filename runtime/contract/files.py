"""What reading and writing files of a container offers; callers see no concrete class.

Paths are of the container: absolute, resolved as a process inside would, so no link leads out.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from runtime.contract.rootfs import IdRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path that a container added, changed or deleted."""

    kind: Literal["A", "C", "D"]
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStat:
    """What is at a path; a link is not followed. ``mode``: as ``st_mode``, with the type."""

    name: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str  # "" if it is no link


Chunks = AbstractAsyncContextManager[AsyncIterator[bytes]]


class Files(Protocol):
    """Files below a root directory whose content is hostile."""

    async def stat(self, root: Path, path: str) -> PathStat:
        """Look at one entry (Missing, Refused)."""
        ...

    def read(self, root: Path, path: str, *, name: str, ids: IdRange | None = None) -> Chunks:
        """The tar of one entry and all below it, called ``name`` inside the tar.

        Args:
            ids: of the user namespace whose files they are; its own ids are in the tar.

        Raises (also while the chunks are read):
            Missing: no such path. Refused: the disk said no.
        """
        ...

    async def write(
        self,
        root: Path,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        keep_owner: bool,
        ids: IdRange | None = None,
    ) -> None:
        """Unpack a tar into the folder ``path``; without ``keep_owner`` all belongs to root.

        Raises:
            Missing: no such folder. Refused: the tar is malformed, leads out, or would put a file
            in place of a folder or the other way round. Exhausted: disk full.
        """
