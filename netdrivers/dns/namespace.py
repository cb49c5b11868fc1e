"""Sockets that live in another network namespace. The name server's one door to ``setns``.

On the loop's thread, with no await between going and coming back, so no other task can see the
wrong namespace; measured 6.5 us, a worker thread costs ten times that (2026-11).
"""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000
EXIT_LOST_NETNS: Final = 70


def _setns(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def _open(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _visit(netns: Path) -> Iterator[None]:
    """Be in ``netns`` for a few synchronous calls, then come home or die."""
    home = _open("/proc/thread-self/ns/net")
    try:
        there = _open(netns)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            try:
                _setns(home)
            except OSError:
                os._exit(EXIT_LOST_NETNS)  # every later socket of the agent would go astray
    finally:
        os.close(home)


def make_socket(netns: Path | None, family: int, kind: int) -> socket.socket:
    """Make a non-blocking socket in ``netns`` (None = here); it stays there for life."""
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
        OSError: there is no such link.
    """
    if netns is None:
        return socket.if_nametoindex(link)
    with _visit(netns):
        return socket.if_nametoindex(link)
