"""Open ways to the kernel: the agent's own namespace, the sandboxes, the nft table, our marks."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from netdrivers.kernel import nsnumber
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.netns import Namespaces, open_pinned
from netdrivers.kernel.nftables import Nftables

if TYPE_CHECKING:
    from netdrivers.plan.tunnels import FdbEntry, Neighbour

T = TypeVar("T")
DEFAULT_AGENT: Final = "default"
SEALED: Final = "sealed"  # where the namespace with the encrypted way out is pinned, beside netns
FILTER: Final = 12  # NETLINK_NETFILTER, for which Python has no name


@dataclass(slots=True)
class Way:
    """A namespace and sockets in it; the nft one is opened at first use."""

    fd: int
    namespaces: Namespaces
    route: Netlink
    number: int | None = None  # of a sandbox, in the agent's namespace; None: it is not heard
    heard: int = 0  # grows with all that is heard of it
    memory: tuple[int, object] | None = None  # what was read, and ``heard`` before that
    sysctls: dict[str, str | None] = field(default_factory=dict)  # as last found
    _filter: Netlink | None = field(default=None)

    @property
    def filter(self) -> Netlink:
        """The nfnetlink socket."""
        if self._filter is None:
            with self.namespaces.inside(self.fd):
                self._filter = Netlink(FILTER)
        return self._filter

    def close(self) -> None:
        """Close the sockets; the namespace itself lives on."""
        self.route.close()
        if self._filter is not None:
            self._filter.close()


class Access:
    """Everything of one agent that is open towards the kernel."""

    def __init__(self, run: Path, *, agent_id: str) -> None:
        self.pins = run / "netns"
        self.table = "nodeagent" if agent_id == DEFAULT_AGENT else f"nodeagent-{agent_id}"
        self._mark = f"nodeagent:{agent_id}:"
        self._ways: dict[str, tuple[Way, tuple[int, int]]] = {}
        self._numbers: dict[int, Way] = {}
        self.table_memory: tuple[int, object] | None = None  # by the ruleset's generation
        # entries of overlays' links by index, and ``heard`` of the time they were read
        self.tunnels: dict[int, tuple[int, tuple[FdbEntry | Neighbour, ...]]] = {}
        self.namespaces = Namespaces()
        self.nft = Nftables(self.namespaces)
        self.host = self._open(self.namespaces.home)

    def open_in(self, sandbox: str, make: Callable[[], T]) -> T | None:
        """A socket in a sandbox ("" = home) for one task of its own; None without a pin."""
        fd = open_pinned(self.pin(sandbox)) if sandbox else os.dup(self.namespaces.home)
        if fd is None:
            return None
        try:
            with self.namespaces.inside(fd):
                return make()
        finally:
            os.close(fd)

    def open_sealed(self) -> Netlink | None:
        """A socket in the sealed namespace, for one call; None where there is no such."""
        fd = open_pinned(self.pins.parent / SEALED)
        if fd is None:
            return None
        try:
            with self.namespaces.inside(fd):
                return Netlink(socket.NETLINK_ROUTE)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close all."""
        for sandbox in list(self._ways):
            self.forget(sandbox)
        self.host.close()
        self.nft.close()
        self.namespaces.close()

    def alias(self, object_id: str) -> str:
        """The mark of a link of ours."""
        return self._mark + object_id

    def object_id(self, alias: str) -> str:
        """The id in a mark of ours; "" for any other alias."""
        return alias.removeprefix(self._mark) if alias.startswith(self._mark) else ""

    def pin(self, sandbox: str) -> Path:
        """Where the namespace of a sandbox is pinned."""
        return self.pins / sandbox

    def sandboxes(self) -> list[str]:
        """All sandboxes with a pin, whole or not."""
        return sorted(path.name for path in self.pins.iterdir())

    def way(self, sandbox: str) -> Way | None:
        """The way into a sandbox ("" = home); None when nothing is pinned.

        A pin that was replaced behind our back is seen by its inode.
        """
        if not sandbox:
            return self.host
        known = self._ways.get(sandbox)
        if known and known[1] == self._identity(sandbox):
            return known[0]
        fd = open_pinned(self.pin(sandbox))
        if fd is None:
            return None  # a known way stays open: it leads to the namespace that lost its pin
        self.forget(sandbox)
        way = self._open(fd)
        way.number = self._give_number(fd)
        if way.number is not None:
            self._numbers[way.number] = way
        status = os.fstat(fd)
        self._ways[sandbox] = (way, (status.st_dev, status.st_ino))
        return way

    def is_pinned(self, sandbox: str) -> bool:
        """Whether a way that was opened still leads to what is pinned."""
        known = self._ways.get(sandbox)
        return known is not None and known[1] == self._identity(sandbox)

    def _identity(self, sandbox: str) -> tuple[int, int] | None:
        try:
            status = os.stat(self.pin(sandbox))  # noqa: PTH116  a thousand of them a second
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino)

    def _give_number(self, fd: int) -> int | None:
        """A number for a namespace, so that the monitor hears it; None if there is none to have."""
        self.host.route.ask([nsnumber.give(fd)])  # refused if it has one
        (reply,) = self.host.route.ask([nsnumber.ask(fd)])
        numbers = [nsnumber.parse(body) for _, body in reply.messages]
        return numbers[0] if numbers and numbers[0] >= 0 else None

    def lost(self, sandbox: str) -> Way | None:
        """The way to a namespace whose pin is gone, if it was opened before."""
        known = self._ways.get(sandbox)
        return None if known is None or self.is_pinned(sandbox) else known[0]

    def opened(self) -> dict[str, Way]:
        """The ways that are open, ours included."""
        return {"": self.host, **{name: way for name, (way, _) in list(self._ways.items())}}

    def is_ours(self, number: int) -> bool:
        """Whether a namespace that speaks is one of our sandboxes."""
        return number in self._numbers

    def note(self, spoke: set[int] | None, home: int) -> None:
        """Namespaces have spoken (None: all may have): what is remembered of them is old."""
        if spoke is None:
            for way in self.opened().values():
                way.heard += 1
            return
        for number in spoke:
            heard = self.host if number == home else self._numbers.get(number)
            if heard is not None:
                heard.heard += 1

    def forget(self, sandbox: str) -> None:
        """Close the way into a sandbox."""
        known = self._ways.pop(sandbox, None)
        if known:
            way = known[0]
            if way.number is not None and self._numbers.get(way.number) is way:
                del self._numbers[way.number]
            way.close()
            os.close(way.fd)

    def _open(self, fd: int) -> Way:
        with self.namespaces.inside(fd):
            return Way(fd, self.namespaces, Netlink(socket.NETLINK_ROUTE))
