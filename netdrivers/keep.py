"""Descriptors that may outlive the agent, by name: what a former one left, and what is open now.

Who opens such a socket asks here first (``take``) and tells what it has (``put``) and what it
closed because it is no longer wanted (``drop``). So whoever hands all of them on, to a next
agent or to systemd, needs to know nobody else.

A name is short and has no colon: systemd joins the names by colons to one string of the
environment, and the kernel takes no string above 128 KiB.
"""

import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from netdrivers.contract.specs import IPAddress

SO_NETNS_COOKIE: Final = 71  # Linux 5.14; Python has no name for it
NAME_MAX_CHARS: Final = 60
_ID_CHARS: Final = 32  # 128 bits of a sandbox's id name it well enough
_COOKIE: Final = struct.Struct("=Q")


def dns_name(protocol: str, sandbox_id: str) -> str:
    """The name of a sandbox's name server socket; ``protocol`` is udp or tcp."""
    return f"dns-{protocol}/{sandbox_id[:_ID_CHARS]}"


def port_name(protocol: str, host_ip: IPAddress, port: int) -> str:
    """The name of the socket that holds a host port."""
    return f"port/{protocol}/{port}/{host_ip.compressed.replace(':', '_')}"


def netns_cookie(sock: socket.socket) -> int:
    """The number of the network namespace a socket lives in, never used twice; 0 if unknown."""
    try:
        return int(_COOKIE.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])
    except OSError:
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a handed socket must be to be believed.

    ``address`` is as ``getsockname`` tells it, with port 0 for any; ``cookie`` None is any
    namespace, and 0, which no namespace has, is none.
    """

    type: socket.SocketKind
    address: str | tuple[str, int]
    cookie: int | None = None
    listens: bool = False

    def fits(self, sock: socket.socket) -> bool:
        """Whether the kernel says of ``sock`` what is wanted."""
        return (
            sock.type == self.type
            and self._is_here(sock.getsockname())
            and (self.cookie is None or 0 != self.cookie == netns_cookie(sock))
            and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) == self.listens
        )

    def _is_here(self, found: object) -> bool:
        if not isinstance(self.address, tuple) or not isinstance(found, tuple):
            return found == self.address
        host, port = self.address
        return found[0] == host and port in {0, found[1]}


class Keep:
    """The descriptors of one agent; see the file's text. It owns those that nobody took yet."""

    def __init__(
        self,
        handed: Mapping[str, int] | None = None,
        *,
        on_put: Callable[[str, int], None] = lambda _name, _fd: None,
        on_drop: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._handed = dict(handed or {})
        self._open: dict[str, int] = {}
        self._on_put = on_put
        self._on_drop = on_drop

    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def take(self, name: str, wanted: Wanted) -> socket.socket | None:
        """The handed socket of this name, non-blocking and the caller's; None: open one anew.

        One that is not as wanted is closed.
        """
        fd = self.take_fd(name)
        if fd is None:
            return None
        try:
            sock = socket.socket(fileno=fd)
        except OSError:  # no socket at all
            os.close(fd)
        else:
            if wanted.fits(sock):
                sock.setblocking(False)
                return sock
            sock.close()
        self._on_drop(name)
        return None

    def take_fd(self, name: str) -> int | None:
        """The handed descriptor of this name, whatever it is, if there is one."""
        return self._handed.pop(name, None)

    def put(self, name: str, fd: int) -> None:
        """Remember an open descriptor; it stays the caller's."""
        self._open[name] = fd
        self._on_put(name, fd)

    def drop(self, name: str) -> None:
        """Forget it: it is closed, and nobody shall have it."""
        if self._open.pop(name, None) is not None:
            self._on_drop(name)

    def copies(self) -> dict[str, int]:
        """A copy of every open descriptor; the caller's."""
        made: dict[str, int] = {}
        try:
            for name, fd in self._open.items():
                made[name] = os.dup(fd)
        except OSError:
            close_all(made)
            raise
        return made

    def close_untaken(self) -> list[str]:
        """Close what was handed and is of no use; the names."""
        names = sorted(self._handed)
        close_all(self._handed)
        self._handed.clear()
        for name in names:
            self._on_drop(name)
        return names


def close_all(fds: Mapping[str, int]) -> None:
    """Close descriptors that came or are to go by name."""
    for fd in fds.values():
        os.close(fd)
