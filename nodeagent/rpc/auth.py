"""Who may speak to the agent, and where: the socket file, its group, the peer's credentials."""

import errno
import grp
import logging
import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from nodeagent.errors import Busy, Conflict, Invalid
from nodeagent.rpc.roles import Role

log = logging.getLogger(__name__)

_UCRED: Final = struct.Struct("3i")
_MODE: Final = 0o660
_BACKLOG: Final = 1024  # they wait here while one agent replaces another; a guess
_MAX_PATH_BYTES: Final = 107 - len(".new")  # sun_path, and room for the name before the rename


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a connection.

    By a unix socket it is a process, as the kernel knew it at connect, and may do everything. By
    TCP it has a ``name`` and a ``role`` by its certificate, and an ``address``.
    """

    uid: int = -1
    gid: int = -1
    pid: int = -1
    name: str = ""
    role: Role = "admin"
    address: str = ""
    until: float = 0.0  # when the certificate ends, since the epoch

    @property
    def is_remote(self) -> bool:
        """Whether it came by TCP."""
        return bool(self.address)


def read_peer(sock: socket.socket | trio.socket.SocketType) -> Peer:
    """Ask the kernel who connected (SO_PEERCRED)."""
    pid, uid, gid = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return Peer(uid=uid, gid=gid, pid=pid)


def open_listener(path: Path, *, group: str) -> socket.socket:
    """Listen at ``path``, mode 0660 for ``group``; a dead agent's socket file is replaced.

    The socket gets its owner and mode under another name and is then renamed, so at no instant
    does ``path`` name a socket that the wrong people may open.

    Raises:
        Busy: an agent answers there.
        Conflict: ``path`` is something else than a socket.
        Invalid: the path is too long for a socket.
    """
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise Invalid("path of the socket is too long", path=path, max_bytes=_MAX_PATH_BYTES)
    _check_unused(path)
    made = _under_way(path)
    made.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(os.fspath(made))
        _admit(made, group)
        sock.listen(_BACKLOG)
        made.rename(path)
    except BaseException:
        sock.close()
        made.unlink(missing_ok=True)
        raise
    return sock


def bound_name(path: Path) -> str:
    """The name under which the kernel knows the listener of ``path``: it was renamed since."""
    return os.fspath(_under_way(path))


def is_reached(path: Path, *, group: str) -> bool:
    """Whether clients reach a listener of ours at ``path``; if so, ``group`` may be one now."""
    if not path.is_socket() or not _is_answered(path):
        return False
    _admit(path, group)
    return True


def remove_socket(path: Path, sock: socket.socket) -> None:
    """Stop listening; remove the socket file, unless another agent has put its own there."""
    sock.close()
    if not _is_answered(path):
        path.unlink(missing_ok=True)


def _under_way(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _check_unused(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict("path of the socket is taken by another kind of file", path=path)
    if _is_answered(path):
        raise Busy("an agent answers at this socket already", path=path)


def _is_answered(path: Path) -> bool:
    """Say whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except OSError as exc:
            # EAGAIN: somebody listens and its backlog is full.
            return exc.errno == errno.EAGAIN
        return True


def _admit(path: Path, group: str) -> None:
    """Let root and the group connect; without the group only root."""
    path.chmod(_MODE)
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        log.warning("group is missing: only root can reach the agent", extra={"group": group})
    except PermissionError:
        log.warning("cannot give the socket to the group", extra={"group": group})
