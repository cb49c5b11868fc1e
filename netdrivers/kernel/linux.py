"""The kernel under us, for the loop: reads, changes, and removals of links gathered into one."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from socket import NETLINK_ROUTE
from typing import Final, TypeVar

import trio

from netdrivers.contract.specs import HostRoute
from netdrivers.errors import Refused, Unavailable
from netdrivers.kernel.access import Access
from netdrivers.kernel.apply import Changer
from netdrivers.kernel.asking import remove_links, removed_link
from netdrivers.kernel.departures import Departures
from netdrivers.kernel.forwarding import write_note
from netdrivers.kernel.marks import count_others
from netdrivers.kernel.monitor import HOME, Monitor
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.quiet import Quiet
from netdrivers.kernel.routes import read_routes
from netdrivers.kernel.snapshot import PART, Found, Reader, View
from netdrivers.kernel.table import dump_elements
from netdrivers.plan.objects import Element
from netdrivers.plan.ops import Op

T = TypeVar("T")
Link = tuple[str, str]  # sandbox ("" = home) and name
THREADS: Final = 1  # the kernel has one lock for all of this: more threads only wait in line
QUIET_S: Final = 1.0  # between two looks at what changes without a word
REMOVERS: Final = 4  # those wait without that lock; who comes when all do is gathered into a batch


@dataclass(slots=True)
class LinuxKernel:
    """One thread at a time works on the kernel, others wait for the clean-up after removals."""

    run: Path
    agent_id: str
    _access: Access | None = None
    _monitor: Monitor | None = None
    _quiet: Quiet | None = None
    _thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(THREADS))
    _doomed: list[Link] = field(default_factory=list)
    _removing: trio.Lock = field(default_factory=trio.Lock)
    _remover: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(REMOVERS))

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
            self._monitor = Monitor(self._access.is_ours, self._access.tunnels)
            self._quiet = Quiet(self._access)
        except OSError as exc:
            raise Unavailable("open the way to the kernel", reason=exc.strerror) from exc
        return await self._off_loop(self._begin)

    def _begin(self) -> list[Element]:
        """The elements; a guard among them was set by us, maybe by an agent that wrote no note."""
        elements = list(dump_elements(self.access))
        for element in elements:
            if element.set == "guarded":
                write_note(self.access, str(element.match[0]))
        return elements

    async def close(self) -> None:
        """Close what is open."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._access is not None:
            await self._off_loop(self._access.close)
            self._access = None

    async def read(self, view: View) -> Found:
        """Take a snapshot of the view."""
        if self._monitor is not None:  # what was said until now counts for what is read from now on
            self.access.note(None if view.fresh else self._monitor.take(), HOME)
        if view.fresh:
            self.access.table_memory = None
        reader = Reader(self.access, view)
        names = await self._off_loop(reader.begin)
        for at in range(0, len(names), PART):
            await self._off_loop(partial(reader.sandboxes, names[at : at + PART]))
        return await self._off_loop(reader.rest) if reader.found is None else reader.found

    async def wait_change(self) -> None:
        """Return once something changed, whether the kernel tells of such changes or not."""
        if self._monitor is None or self._quiet is None:
            raise Unavailable("the engine is not open")
        while True:
            with trio.move_on_after(QUIET_S):
                await self._monitor.wait()
                return
            if await self._off_loop(self._quiet.look):
                return

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

    async def others(self) -> dict[str, int]:
        """Links and tables here that bear the mark of another agent, by its id."""
        return await self._off_loop(lambda: count_others(self.access))

    async def host_routes(self) -> list[HostRoute]:
        """Destinations of routes that are none of ours."""
        return await self._off_loop(lambda: read_routes(self.access))

    async def look(self, work: Callable[[Access], T]) -> T:
        """Let ``work`` read of the kernel, in the thread for that."""
        return await self._off_loop(lambda: work(self.access))

    async def _remove(self, links: Sequence[Link]) -> None:
        """Remove links together with those of others who ask meanwhile."""
        self._doomed += links
        try:
            async with self._removing:
                if set(links) & set(self._doomed):
                    batch, self._doomed = self._doomed, []
                    await self._remove_batch(batch)
        finally:
            # cancelled in line: a name may be in use again when the next batch goes
            self._doomed = [link for link in self._doomed if link not in links]

    async def _remove_batch(self, links: Sequence[Link]) -> None:
        failed: list[Refused] = []
        async with trio.open_nursery() as nursery:
            for sandbox, group in groupby(sorted(links), key=lambda link: link[0]):
                names = [name for _, name in group]
                nursery.start_soon(self._remove_in, sandbox, names, failed)
        if failed:
            raise failed[0]

    async def _remove_in(self, sandbox: str, names: Sequence[str], failed: list[Refused]) -> None:
        """Return when nobody can see the links any more; missing ones are not missed.

        That is after 1 ms. The call itself returns 14 to 40 ms later (2026-11), when the kernel has
        waited for readers of what it freed; a thread stays behind for that.
        """
        ends = self.access.open_in(sandbox, lambda: (Netlink(NETLINK_ROUTE), Departures()))
        if ends is None:
            return
        netlink, departures = ends
        with closing(departures), trio.CancelScope(shield=True):  # half a removal helps nobody
            async with trio.open_nursery() as nursery:
                nursery.start_soon(departures.tell, set(names), nursery.cancel_scope)
                try:
                    await trio.to_thread.run_sync(
                        _remove_and_close, netlink, names,
                        limiter=self._remover, abandon_on_cancel=True,
                    )  # fmt: skip
                except Refused as exc:  # out of the nursery, which would wrap it
                    failed.append(exc)
                nursery.cancel_scope.cancel()

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._thread)


def _remove_and_close(netlink: Netlink, names: Sequence[str]) -> None:
    with closing(netlink):
        remove_links(netlink, names)
