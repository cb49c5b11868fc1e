"""Network namespaces: create, pin to a file, enter and come home. The package's door to setns.

Source: man 2 setns, man 2 unshare, man 7 network_namespaces, man 2 ioctl_ns.
"""

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from netdrivers.errors import Refused

CLONE_NEWNET: Final = 0x40000000
MS_BIND: Final = 4096
MNT_DETACH: Final = 2
NS_GET_NSTYPE: Final = 0xB703
EXIT_LOST_NETNS: Final = 70
HERE: Final = "/proc/thread-self/ns/net"  # /proc/self would name the main thread's


class Libc:
    """The four calls that Python 3.11 has no name for."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def setns(self, fd: int) -> None:
        """Move the calling thread into the network namespace ``fd``."""
        self._check("enter a network namespace", self._libc.setns(fd, CLONE_NEWNET))

    def unshare(self) -> None:
        """Move the calling thread into a new network namespace."""
        self._check("make a network namespace", self._libc.unshare(CLONE_NEWNET))

    def bind(self, source: str, target: Path) -> None:
        """Bind ``source`` over the file ``target``."""
        done = self._libc.mount(source.encode(), os.fsencode(target), None, MS_BIND, None)
        self._check("pin a network namespace", done)

    def unmount(self, target: Path) -> bool:
        """Take the topmost mount off ``target``; False when there was none."""
        return bool(self._libc.umount2(os.fsencode(target), MNT_DETACH) == 0)

    def _check(self, doing: str, done: int) -> None:
        if done != 0:
            errno = ctypes.get_errno()
            raise Refused(doing, errno=errno, reason=os.strerror(errno))


class Namespaces:
    """The way into sandboxes and back to the namespace this was made in."""

    def __init__(self) -> None:
        self._libc = Libc()
        self.home = open_fd(HERE)

    def close(self) -> None:
        """Let the home namespace go."""
        os.close(self.home)

    @contextmanager
    def inside(self, fd: int) -> Iterator[None]:
        """Run the block in the namespace ``fd``: no await inside. Come home or die."""
        back = open_fd(HERE)
        try:
            self._libc.setns(fd)
            try:
                yield
            finally:
                self._go(back)
        finally:
            os.close(back)

    def create(self, path: Path) -> None:
        """Make a namespace and pin it at ``path``. Blocks for 0.5 ms: call it in a thread."""
        back = open_fd(HERE)
        try:
            _touch(path)
            try:
                self._libc.unshare()
                self._libc.bind(HERE, path)
            except Refused:
                path.unlink()
                raise
            finally:
                self._go(back)
        finally:
            os.close(back)

    def pin(self, fd: int, path: Path) -> None:
        """Pin a namespace that is open already, whose pin somebody took away."""
        _touch(path)
        self._libc.bind(f"/proc/thread-self/fd/{fd}", path)

    def remove(self, path: Path) -> None:
        """Unpin the namespace and remove its file. What is not there is not missed."""
        while self._libc.unmount(path):
            pass
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise Refused("remove the pin of a namespace", path=path, reason=exc.strerror) from exc

    def _go(self, fd: int) -> None:
        try:
            self._libc.setns(fd)
        except Refused:
            os._exit(EXIT_LOST_NETNS)  # threads are used again: never leave one astray


def _touch(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    except OSError as exc:
        raise Refused("make a pin for a namespace", path=path, reason=exc.strerror) from exc


def open_fd(path: str | Path) -> int:
    """Open a namespace file."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def open_pinned(path: Path) -> int | None:
    """Open the namespace at ``path``; None when the file is missing or nothing is mounted on it.

    A plain file is left by a kill between touch and mount, and by a reboot.
    """
    try:
        fd = open_fd(path)
    except FileNotFoundError:
        return None
    with suppress(OSError):
        if fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET:
            return fd
    os.close(fd)
    return None
