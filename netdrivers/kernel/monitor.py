"""Hears that something changed, and in which network namespace. What changed is read elsewhere.

Links, addresses, routes, forwarding and nftables: the kernel tells of each change of them, whoever
made it; of neighbours only those of overlays' tunnels count, for others come and go by themselves.
One pair of sockets hears the agent's namespace and all that have a number in it
(``NETLINK_LISTEN_ALL_NSID``); sandboxes of ours are given one. A lost message (ENOBUFS) is a change
everywhere. Only receives, so it lives on the loop.

Source: man 7 netlink, man 7 rtnetlink, linux/netfilter/nfnetlink.h, linux/net_namespace.h.
"""

import errno
import socket
import struct
from collections.abc import Callable, Container
from typing import Final

import trio

FILTER: Final = 12  # NETLINK_NETFILTER, for which Python has no name
ADD_MEMBERSHIP: Final = 1
LISTEN_ALL_NSID: Final = 8
SOL_NETLINK: Final = 270
SO_RCVBUFFORCE: Final = 33
RECEIVE_BYTES: Final = 64 << 10
BUFFER_BYTES: Final = 2 << 20  # a start of 20 containers at once says 1,500 things
GROUP_LINK: Final = 1
# RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, IPV4_NETCONF, IPV6_NETCONF;
# NFNLGRP_NFTABLES
GROUPS: Final = {socket.NETLINK_ROUTE: (GROUP_LINK, 3, 5, 7, 9, 11, 24, 25), FILTER: (7,)}
HOME: Final = -1  # the agent's own namespace has no number
NOBODY: Final = -2  # what was said does not count
NEIGH_MESSAGES: Final = frozenset({28, 29})  # RTM_NEWNEIGH, RTM_DELNEIGH
HEAD: Final = struct.Struct("=IHHIIBxxxi")  # of netlink, then of a neighbour: family, link


def open_socket(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    """A netlink socket in the namespace of the calling thread that hears the groups."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    sock.bind((0, 0))
    for group in groups:
        sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, struct.pack("=i", group))
    return sock


class Monitor:
    """Opened in the agent's namespace. ``take`` says who spoke; ``wait`` returns when anybody has.

    ``is_ours`` tells which numbers are those of sandboxes of ours: others speak, too. ``tunnels``
    are links whose neighbours count.
    """

    def __init__(self, is_ours: Callable[[int], bool], tunnels: Container[int] = ()) -> None:
        self._is_ours = is_ours
        self._tunnels = tunnels
        self._sockets = [open_socket(protocol, groups) for protocol, groups in GROUPS.items()]
        for sock in self._sockets:
            sock.setsockopt(SOL_NETLINK, LISTEN_ALL_NSID, 1)
        self._spoke: set[int] = set()
        self._lost = True  # nothing is known of the time before
        self._news = trio.Event()

    def close(self) -> None:
        """Stop listening."""
        for sock in self._sockets:
            sock.close()

    def take(self) -> set[int] | None:
        """Numbers of the namespaces that spoke since the last call; None: it may be all of them."""
        self._hear()
        spoke = None if self._lost else self._spoke
        self._spoke, self._lost = set(), False
        return spoke

    async def wait(self) -> None:
        """Return once something changed since the last return. One waiter only."""
        self._hear()
        if not self._news.is_set():
            async with trio.open_nursery() as nursery:
                for sock in self._sockets:
                    nursery.start_soon(_readable, sock, nursery.cancel_scope)
                nursery.start_soon(_told, self._news, nursery.cancel_scope)
            self._hear()
        self._news = trio.Event()

    def _hear(self) -> None:
        for sock in self._sockets:
            while (number := self._receive(sock)) is not None:
                if number == HOME or (number != NOBODY and self._is_ours(number)):
                    self._spoke.add(number)
                    self._news.set()

    def _receive(self, sock: socket.socket) -> int | None:
        """Who sent the next message; None when there is none."""
        try:
            head, more, _, _ = sock.recvmsg(HEAD.size, 32)  # the rest is thrown away
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise
            self._lost = True
            return HOME
        number = HOME
        for level, kind, data in more:
            if (level, kind) == (SOL_NETLINK, LISTEN_ALL_NSID):
                number = int(struct.unpack("=i", data)[0])
        return number if self._counts(head, number) else NOBODY

    def _counts(self, head: bytes, number: int) -> bool:
        if len(head) < HEAD.size:
            return True
        _, kind, _, _, _, _, link = HEAD.unpack(head)
        return kind not in NEIGH_MESSAGES or (number == HOME and link in self._tunnels)


async def _readable(sock: socket.socket, scope: trio.CancelScope) -> None:
    await trio.lowlevel.wait_readable(sock)
    scope.cancel()


async def _told(news: trio.Event, scope: trio.CancelScope) -> None:
    await news.wait()
    scope.cancel()
