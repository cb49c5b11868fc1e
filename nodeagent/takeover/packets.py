"""Packets with descriptors on a unix socket (SOCK_SEQPACKET, SCM_RIGHTS).

Source: unix(7), cmsg(3).
"""

import array
import socket
from collections.abc import Sequence
from typing import Final

import trio

from nodeagent.takeover.messages import MESSAGE_BYTES, PIECE_FDS

_INT_BYTES: Final = array.array("i").itemsize


async def send_packet(sock: trio.socket.SocketType, packet: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet; the descriptors stay the caller's.

    Raises:
        OSError: the other side is gone.
    """
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    await sock.sendmsg([packet], rights)


async def receive_packet(sock: trio.socket.SocketType) -> tuple[bytes, list[int]]:
    """The next packet and its descriptors, the caller's; an empty one: the other side is gone."""
    room = socket.CMSG_SPACE(PIECE_FDS * _INT_BYTES)
    try:
        packet, rights, _, _ = await sock.recvmsg(MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", []
    fds = array.array("i")
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return packet, list(fds)
