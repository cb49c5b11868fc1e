"""Open ways to the kernel: the agent's own namespace, the sandboxes, the nft table, our marks."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.netns import Namespaces, open_pinned
from netdrivers.kernel.nftables import Nftables

DEFAULT_AGENT: Final = "default"
FILTER: Final = 12  # NETLINK_NETFILTER, for which Python has no name


@dataclass(slots=True)
class Way:
    """A namespace and sockets in it; the nft one is opened at first use."""

    fd: int
    namespaces: Namespaces
    route: Netlink
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
        self._ways: dict[str, tuple[Way, int]] = {}
        self.namespaces = Namespaces()
        self.nft = Nftables(self.namespaces)
        self.host = self._open(self.namespaces.home)

    def open_route(self, sandbox: str = "") -> Netlink | None:
        """A route socket in a sandbox ("" = home) for one task of its own; None without a pin."""
        fd = open_pinned(self.pin(sandbox)) if sandbox else os.dup(self.namespaces.home)
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
        fd = open_pinned(self.pin(sandbox))
        inode = os.fstat(fd).st_ino if fd is not None else -1
        known = self._ways.get(sandbox)
        if known and known[1] == inode and fd is not None:
            os.close(fd)
            return known[0]
        self.forget(sandbox)
        if fd is None:
            return None
        way = self._open(fd)
        self._ways[sandbox] = (way, inode)
        return way

    def forget(self, sandbox: str) -> None:
        """Close the way into a sandbox."""
        known = self._ways.pop(sandbox, None)
        if known:
            known[0].close()
            os.close(known[0].fd)

    def _open(self, fd: int) -> Way:
        with self.namespaces.inside(fd):
            return Way(fd, self.namespaces, Netlink(socket.NETLINK_ROUTE))
