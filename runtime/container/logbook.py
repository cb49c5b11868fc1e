"""The logs of containers: conmon writes them, everything else about them is here."""

import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import trio

from runtime.container import attach, bundle
from runtime.contract.logs import Cursor, LogFile, LogLine, Query, Tidied
from runtime.errors import Exhausted, Missing
from runtime.logs import generations, reader, shipped
from runtime.logs.inotify import Watch

T = TypeVar("T")

THREADS: Final = 2  # slow reading or compressing holds up no container
PERIOD_S: Final = 0.5  # between two looks of a follower without a watch


class ContainerLogbook:
    """`Logbook` of one agent's containers; see the contract.

    Args:
        wait_exit: returns when a container has ended; Missing if there is none.
    """

    def __init__(
        self,
        places: bundle.Places,
        wait_exit: Callable[[str], Awaitable[object]],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._places = places
        self._wait_exit = wait_exit
        self._now_ns = now_ns
        self._threads = trio.CapacityLimiter(THREADS)
        # whose conmon has not opened a new file, perhaps since an agent was killed before it told;
        # not told twice at once: it would replace the file that it has just begun
        self._deaf: set[str] = set()

    def path(self, container_id: str) -> Path:
        return self._places.log(bundle.check_id(container_id))

    def size(self, container_id: str) -> int:
        try:
            return self.path(container_id).stat().st_size
        except FileNotFoundError:
            return 0

    def read(
        self,
        container_id: str,
        query: Query,
        ended: Callable[[], Awaitable[object]] | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        path = self.path(container_id)

        async def wait_ended() -> None:
            with contextlib.suppress(Missing):  # deleted: its log may stay
                await self._wait_exit(container_id)

        follows = query.follow and path.parent.is_dir()
        return reader.read_log(
            path,
            query,
            ended or wait_ended,
            limiter=self._threads,
            wakes=_watch(path.parent) if follows else None,
            now_ns=self._now_ns,
        )

    def read_batches(
        self, container_id: str, after: Cursor, ended: Callable[[], Awaitable[object]]
    ) -> AsyncGenerator[Sequence[LogLine], None]:
        return reader.read_batches(
            self.path(container_id),
            Query(follow=True, after=after),
            ended,
            limiter=self._threads,
            wakes=reader.Pace(PERIOD_S),
            now_ns=self._now_ns,
        )

    async def rotate(self, container_id: str) -> None:
        path = self.path(container_id)
        if await self._in_thread(lambda: generations.rotate(path)):
            self._tell_conmon(container_id)

    def _tell_conmon(self, container_id: str) -> None:
        """Until it hears of it, conmon writes to the renamed file, so no line is lost."""
        line = attach.build_control(attach.REOPEN_LOG)
        with contextlib.suppress(Missing):  # it has ended: nothing more will be written
            attach.write_control(self._places.bundle(container_id), line)

    async def tidy(
        self, container_id: str, *, keep: int, compress: bool, ended: bool = False
    ) -> Tidied:
        path = self.path(container_id)
        done = await self._in_thread(
            lambda: generations.tidy(path, keep=keep, compress=compress, ended=ended)
        )
        if done.is_complete:
            self._deaf.discard(container_id)
        elif container_id in self._deaf:
            self._tell_conmon(container_id)
        else:
            self._deaf.add(container_id)
        return done

    async def files(self, container_id: str) -> list[LogFile]:
        path = self.path(container_id)
        return await self._in_thread(lambda: generations.measure(path))

    async def drop(self, container_id: str, generation: int) -> None:
        path = self.path(container_id)
        await self._in_thread(lambda: generations.drop(path, generation))

    async def read_shipped(self, container_id: str) -> Cursor:
        path = self._shipped(container_id)
        return await self._in_thread(lambda: shipped.read(path))

    async def write_shipped(self, container_id: str, cursor: Cursor) -> None:
        path = self._shipped(container_id)
        await self._in_thread(lambda: shipped.write(path, cursor))

    def _shipped(self, container_id: str) -> Path:
        """In a directory of its own: followers are woken by changes of the log's."""
        return self.path(container_id).parent / "shipped" / "cursor"

    async def remove(self, container_id: str) -> None:
        log = self.path(container_id)
        await self._in_thread(lambda: bundle.remove_tree(log.parent))
        with contextlib.suppress(OSError):  # others keep the writable layer here
            log.parent.parent.rmdir()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)


def _watch(directory: Path) -> reader.Wakes:
    """At once by inotify, of which a user has 128 instances by default; else at a pace."""
    try:
        return Watch(directory)
    except Exhausted:
        return reader.Pace(PERIOD_S)
