"""Hears which links of one namespace have gone, before the call that removes them returns."""

import errno
import socket
from typing import Final

import trio

from netdrivers.kernel import codec
from netdrivers.kernel.monitor import GROUP_LINK, RECEIVE_BYTES, open_socket
from netdrivers.kernel.netlink import split


class Departures:
    """A socket in the namespace of the calling thread; stays there."""

    def __init__(self) -> None:
        self._sock = open_socket(socket.NETLINK_ROUTE, (GROUP_LINK,))

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()

    async def tell(self, names: set[str], scope: trio.CancelScope) -> None:
        """Cancel the scope once all of the links have gone.

        After a loss of messages there is no telling: the caller's removal returns all the same.
        """
        left = set(names)
        while left:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                left -= set(_departed(self._sock.recv(RECEIVE_BYTES)))
            except BlockingIOError:
                continue
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                return
        scope.cancel()


WHOLE: Final = 0  # of the link, not only of its place on a bridge


def _departed(data: bytes) -> list[str]:
    return [
        codec.parse_link(body).name
        for kind, _, _, body in split(data)
        if kind == codec.DELLINK and body[0] == WHOLE
    ]
