"""Hears that something in the agent's namespace changed. What changed is read elsewhere.

Links, addresses, routes and nftables: the kernel tells of each change of them, whoever made it.
A lost message (ENOBUFS) is a change like any other. Only receives, so it may live on the loop.

Source: rtnetlink(7), linux/netfilter/nfnetlink.h.
"""

import errno
import socket
import struct
from typing import Final, Protocol

import trio

FILTER: Final = 12  # NETLINK_NETFILTER, for which Python has no name
ADD_MEMBERSHIP: Final = 1
SOL_NETLINK: Final = 270
RECEIVE_BYTES: Final = 64 << 10
# RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE; NFNLGRP_NFTABLES
GROUPS: Final = {socket.NETLINK_ROUTE: (1, 5, 7, 9, 11), FILTER: (7,)}


class Home(Protocol):
    """Opens a socket in the agent's namespace, whatever thread asks."""

    def __call__(self, protocol: int) -> socket.socket: ...


def open_socket(protocol: int) -> socket.socket:
    """A netlink socket in the namespace of the calling thread."""
    return socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol
    )


class Monitor:
    """One socket a family of changes; ``wait`` returns when any of them has something to say."""

    def __init__(self, home: Home = open_socket) -> None:
        self._sockets: list[socket.socket] = []
        for protocol, groups in GROUPS.items():
            sock = home(protocol)
            sock.bind((0, 0))
            for group in groups:
                sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, struct.pack("=i", group))
            self._sockets.append(sock)

    def close(self) -> None:
        """Stop listening."""
        for sock in self._sockets:
            sock.close()

    async def wait(self) -> None:
        """Return once something changed since the last return; what was said is thrown away."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets:
                nursery.start_soon(_hear, sock, nursery.cancel_scope)
        for sock in self._sockets:
            drain(sock)


async def _hear(sock: socket.socket, scope: trio.CancelScope) -> None:
    await trio.lowlevel.wait_readable(sock)
    scope.cancel()


def drain(sock: socket.socket) -> None:
    """Throw away what is there; a full buffer has thrown some away itself."""
    while True:
        try:
            sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise
