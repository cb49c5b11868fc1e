"""The kernel under us, for the loop: reads, changes, and removals of links gathered into one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final, TypeVar

import trio

from netdrivers.contract import HostRoute
from netdrivers.errors import Unavailable
from netdrivers.kernel.access import Access
from netdrivers.kernel.apply import Changer
from netdrivers.kernel.asking import remove_links, removed_link
from netdrivers.kernel.routes import read_routes
from netdrivers.kernel.snapshot import Found, View, dump_elements, read
from netdrivers.plan.objects import Element
from netdrivers.plan.ops import Op

T = TypeVar("T")
Link = tuple[str, str]  # sandbox ("" = home) and name
THREADS: Final = 1  # the kernel has one lock for all of this: more threads only wait in line


@dataclass(slots=True)
class LinuxKernel:
    """One thread at a time works on the kernel, another one waits for removals."""

    run: Path
    agent_id: str
    _access: Access | None = None
    _thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(THREADS))
    _doomed: list[Link] = field(default_factory=list)
    _removing: trio.Lock = field(default_factory=trio.Lock)
    _remover: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    @property
    def access(self) -> Access:
        """The open ways into it."""
        if self._access is None:
            raise Unavailable("the engine is not open")
        return self._access

    async def open(self) -> list[Element]:
        """Open the sockets and look at the elements that are there."""
        await self.close()
        try:
            (self.run / "netns").mkdir(parents=True, exist_ok=True)
            self._access = Access(self.run, agent_id=self.agent_id)
        except OSError as exc:
            raise Unavailable("open the way to the kernel", reason=exc.strerror) from exc
        return await self._off_loop(lambda: list(dump_elements(self.access)))

    async def close(self) -> None:
        """Close what is open."""
        if self._access is not None:
            await self._off_loop(self._access.close)
            self._access = None

    async def read(self, view: View) -> Found:
        """Take a snapshot of the view."""
        return await self._off_loop(lambda: read(self.access, view))

    async def change(self, ops: Sequence[Op], done: list[Op]) -> None:
        """Do the ops in order."""
        for removal, group in groupby(ops, key=lambda op: removed_link(op) is not None):
            part = list(group)
            if removal:
                await self._remove([link for op in part if (link := removed_link(op))])
                done += part
            else:
                changer = Changer(self.access)
                await trio.to_thread.run_sync(changer.change, part, done, limiter=self._thread)

    async def host_routes(self) -> list[HostRoute]:
        """Destinations of routes that are none of ours."""
        return await self._off_loop(lambda: read_routes(self.access))

    async def look(self, work: Callable[[Access], T]) -> T:
        """Let ``work`` read of the kernel, in the thread for that."""
        return await self._off_loop(lambda: work(self.access))

    async def _remove(self, links: Sequence[Link]) -> None:
        """Remove links together with those of others who ask meanwhile.

        Each removal waits 20 ms in the kernel, whether of one link or of 100 (52 ms, 2026-11).
        """
        self._doomed += links
        try:
            async with self._removing:
                if set(links) & set(self._doomed):
                    batch, self._doomed = self._doomed, []
                    await trio.to_thread.run_sync(
                        remove_links, self.access, batch, limiter=self._remover
                    )
        finally:
            # cancelled in line: a name may be in use again when the next batch goes
            self._doomed = [link for link in self._doomed if link not in links]

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._thread)
