"""conmon's attach socket and control fifo: bytes both ways.

Each packet of the socket begins with a byte that names the stream. conmon writes to its clients
before it reads on, so a client that does not read holds up the container's output. It lets one
client in per turn of its loop, and before it reads output: the first client that attaches before
the start hears everything, a second one may miss what comes in the same instant.

Source: conmon 2.1 conn_sock.c, ctr_stdio.c, ctrl.c.
"""

import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import trio

from runtime.errors import Missing, Unavailable

Stream = Literal["stdout", "stderr"]

PACKET_MAX_BYTES: Final = 64 << 10  # conmon sends at most 8 KiB and one byte
SEND_MAX_BYTES: Final = 8 << 10  # conmon reads 32 KiB at once and cuts longer packets off
STREAMS: Final[dict[int, Stream]] = {2: "stdout", 3: "stderr"}
RESIZE: Final = 1
REOPEN_LOG: Final = 2
SIZE_MAX: Final = 1000  # conmon refuses more


def parse_packet(packet: bytes) -> tuple[Stream, bytes]:
    """Split a packet into its stream and its bytes."""
    return STREAMS.get(packet[0], "stdout"), packet[1:]


def build_control(kind: int, first: int = 0, second: int = 0) -> bytes:
    """A line for the control fifo; sizes are cut to what conmon takes."""
    return f"{kind} {min(first, SIZE_MAX)} {min(second, SIZE_MAX)}\n".encode()


def write_control(directory: Path, line: bytes) -> None:
    """Tell conmon something; Missing if it is not there any more."""
    try:
        fd = os.open(directory / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise Missing("reach the container's terminal", errno=exc.errno) from exc
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


class AttachSession:
    """An attached client of one conmon. Closing it leaves the process running."""

    def __init__(self, sock: trio.socket.SocketType, directory: Path) -> None:
        self._socket = sock
        self._directory = directory

    async def receive(self) -> tuple[Stream, bytes] | None:
        """The next piece of output, or None at the end."""
        try:
            packet = await self._socket.recv(PACKET_MAX_BYTES)
        except ConnectionResetError:
            return None
        return parse_packet(packet) if packet else None

    async def send(self, data: bytes) -> None:
        """Write to stdin; Missing once nobody reads it."""
        for start in range(0, len(data), SEND_MAX_BYTES):
            try:
                await self._socket.send(data[start : start + SEND_MAX_BYTES])
            except (BrokenPipeError, ConnectionResetError) as exc:
                raise Missing("write to the container's stdin", reason="closed") from exc

    async def send_eof(self) -> None:
        """Close stdin for the process (a terminal or a kept stdin stays open)."""
        with contextlib.suppress(OSError):  # the other side may be gone: stdin is closed then
            self._socket.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    async def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size."""
        await trio.lowlevel.checkpoint()
        write_control(self._directory, build_control(RESIZE, rows, columns))


@contextlib.asynccontextmanager
async def open_session(directory: Path) -> AsyncIterator[AttachSession]:
    """Connect to the conmon that has its attach socket in ``directory``."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        await _connect(sock, directory)
        yield AttachSession(sock, directory)


async def _connect(sock: trio.socket.SocketType, directory: Path) -> None:
    try:
        # by descriptor: an address is limited to 108 bytes, a path is not
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise Missing("attach", directory=directory, errno=exc.errno) from exc
    try:
        await sock.connect(f"/proc/self/fd/{parent}/attach")
    except OSError as exc:
        if exc.errno in {errno.ENOENT, errno.ECONNREFUSED}:
            raise Missing("attach", reason="the container does not run") from exc
        raise Unavailable("attach", errno=exc.errno) from exc
    finally:
        os.close(parent)
