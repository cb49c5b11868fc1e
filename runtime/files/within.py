"""Files of a container, read and written through its root directory."""

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import trio

from runtime import errors, inroot
from runtime.contract.files import Chunks, PathStat
from runtime.contract.rootfs import IdRange
from runtime.files.pack import Packer
from runtime.image.ingest import on_loop
from runtime.image.store import source_of
from runtime.image.threaded import written
from runtime.image.untar import Limits, untar_files

T = TypeVar("T")
THREADS: Final = 8  # a copy waits in its thread for whoever reads or sends it
KINDS: Final = {
    errno.ENOENT: errors.Missing,
    errno.ENOTDIR: errors.Missing,
    errno.ENOSPC: errors.Exhausted,
    errno.EDQUOT: errors.Exhausted,
}


class RootFiles:
    """The ``Files`` of the agent. No path is followed out of the root it is given."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(THREADS)

    async def stat(self, root: Path, path: str) -> PathStat:
        """Look at one entry; a link is not followed."""
        return await self._run("look at file", lambda: _stat(root, path))

    def read(self, root: Path, path: str, *, name: str, ids: IdRange | None = None) -> Chunks:
        """The tar of one entry and all below it."""

        def work(write: Callable[[bytes], None]) -> None:
            with _told("read file", path), _parent(root, path) as (folder, inner):
                os.lstat(inner, dir_fd=folder)
                packer = Packer(write=write, ids=ids)
                packer.entry(folder, inner, name)
                packer.finish()

        return written("read files", work, self._threads)

    async def write(
        self,
        root: Path,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        keep_owner: bool,
        ids: IdRange | None = None,
    ) -> None:
        """Unpack a tar into a folder."""
        source = source_of(chunks)

        def work() -> None:
            with _told("write files", path), _folder(root, path) as fd:
                untar_files(on_loop(source), fd, Limits(), keep_owner=keep_owner, ids=ids)

        await self._run("write files", work)

    async def _run(self, _doing: str, step: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(step, limiter=self._threads)


def _stat(root: Path, path: str) -> PathStat:
    with _told("look at file", path), _parent(root, path) as (folder, inner):
        found = os.lstat(inner, dir_fd=folder)
        is_link = stat.S_ISLNK(found.st_mode)
        return PathStat(
            name=inner,
            size_bytes=found.st_size,
            mode=found.st_mode,
            mtime_ns=found.st_mtime_ns,
            link_target=os.readlink(inner, dir_fd=folder) if is_link else "",
        )


@contextmanager
def _folder(root: Path, path: str) -> Iterator[int]:
    """A folder inside the root, open for work in it."""
    root_fd = os.open(root, inroot.DIRECTORY)
    try:
        fd = inroot.open_in(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(root_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _parent(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """The folder that holds the last entry of a path, and how it is called there.

    ``/`` and what ends in ``..`` is the folder itself, as ".".
    """
    above, _, inner = path.rstrip("/").rpartition("/")
    if inner in {"", ".", ".."}:
        above, inner = path or "/", "."
    with _folder(root, above or "/") as fd:
        yield fd, inner


@contextmanager
def _told(doing: str, path: str) -> Iterator[None]:
    """The disk's answer as an error of ours that names the path."""
    try:
        yield
    except OSError as exc:
        kind = KINDS.get(exc.errno or 0, errors.Refused)
        raise kind(doing, path=path, error=exc.strerror) from exc
