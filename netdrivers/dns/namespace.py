"""Sockets that live in another network namespace.

Made on the loop's thread, with no await between going and coming back, so no other task can see
the wrong namespace; measured 6.5 us, a worker thread costs ten times that (2026-11).
"""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from netdrivers.dns.route import OWN_ADDRESS
from netdrivers.errors import Exhausted, Missing, Refused, Unavailable
from netdrivers.keep import Keep, Wanted, dns_name, netns_cookie
from netdrivers.kernel.netns import Namespaces, open_fd

BACKLOG: Final = 256
# What waits here while one agent replaces another: some 5,000 queries (the kernel counts 768 bytes
# for a small one, and doubles what we ask for). Taken only as it fills.
BUFFER_BYTES: Final = 2 << 20
PORT_TRIES: Final = 16
SO_RCVBUFFORCE: Final = 33  # Python has no name for it


@contextmanager
def _visit(netns: Path) -> Iterator[None]:
    """Be in ``netns`` for a few synchronous calls."""
    there = open_fd(netns)
    try:
        spaces = Namespaces()
        try:
            with spaces.inside(there):
                yield
        finally:
            spaces.close()
    finally:
        os.close(there)


def make_socket(netns: Path | None, family: int, kind: int) -> socket.socket:
    """Make a non-blocking socket in ``netns`` (None = here); it stays there for life.

    Raises:
        OSError: no such file, or no socket left. Refused: it is no network namespace.
    """
    if netns is None:
        made = socket.socket(family, kind)
    else:
        with _visit(netns):
            made = socket.socket(family, kind)
    made.setblocking(False)
    return made


def index_of(netns: Path | None, link: str) -> int:
    """The number ``netns`` (None = here) knows a link by.

    Raises:
        OSError: there is no such link or file. Refused: it is no network namespace.
    """
    if netns is None:
        return socket.if_nametoindex(link)
    with _visit(netns):
        return socket.if_nametoindex(link)


def bind_pair(netns: Path, port: int) -> tuple[socket.socket, socket.socket]:
    """Bind udp and tcp of our address to one port: the wanted one if both are free, else any.

    Raises:
        Missing: no such namespace. Refused: it is none of network.
        Unavailable: the kernel said no.
        Exhausted: no port was free for both protocols.
    """
    for wanted in (port, *[0] * PORT_TRIES):
        pair = _try_pair(netns, wanted)
        if pair is not None:
            return pair
    raise Exhausted("find a port for names", netns=netns, address=OWN_ADDRESS)


def take_pair(
    keep: Keep, sandbox_id: str, netns: Path, port: int
) -> tuple[socket.socket, socket.socket] | None:
    """Both sockets that a former agent left for this sandbox on ``port`` (0 = any), or None."""
    try:
        with make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as there:
            cookie = netns_cookie(there)
    except (OSError, Refused):
        return None  # binding anew says what is wrong
    udp = keep.take(
        dns_name("udp", sandbox_id),
        Wanted(type=socket.SOCK_DGRAM, address=(OWN_ADDRESS, port), cookie=cookie),
    )
    both = port or (udp.getsockname()[1] if udp is not None else 0)
    tcp = keep.take(
        dns_name("tcp", sandbox_id),
        Wanted(type=socket.SOCK_STREAM, address=(OWN_ADDRESS, both), cookie=cookie, listens=True),
    )
    if udp is not None and tcp is not None:
        return udp, tcp
    for half in (udp, tcp):
        if half is not None:
            half.close()
    return None


def _widen(udp: socket.socket) -> None:
    """Make room for queries, beyond the host's limit if we may."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def _try_pair(netns: Path, port: int) -> tuple[socket.socket, socket.socket] | None:
    """Both sockets, or None if the port is taken for one of them."""
    try:
        with ExitStack() as undo:
            udp = undo.enter_context(make_socket(netns, socket.AF_INET, socket.SOCK_DGRAM))
            _widen(udp)
            udp.bind((OWN_ADDRESS, port))
            tcp = undo.enter_context(make_socket(netns, socket.AF_INET, socket.SOCK_STREAM))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((OWN_ADDRESS, udp.getsockname()[1]))
            tcp.listen(BACKLOG)
            undo.pop_all()
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return None
        kind = Missing if exc.errno == errno.ENOENT else Unavailable
        raise kind("serve names", netns=netns, address=OWN_ADDRESS, reason=exc.strerror) from exc
    return udp, tcp
