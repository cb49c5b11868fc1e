"""Fills the table of tracked connections of the test's namespace, as a flood would."""

import socket
import struct
from pathlib import Path

from netdrivers.kernel.codec import HEADER, NESTED, attr

NEW, DELETE = 1 << 8 | 0, 1 << 8 | 2  # of the conntrack subsystem
CREATE, REQUEST = 0x400, 1
ASSURED = 1 << 2 | 1 << 3 | 1 << 1  # confirmed and seen in both directions: not thrown out early
TIMEOUT_S = 600
BATCH = 256


def fill_tracking() -> int:
    """Make as many entries as the kernel takes, which is the answer; no others stay."""
    most = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text("ascii"))
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with sock:
        sock.bind((0, 0))
        # What others left (closing connections, echoes without an answer) is thrown out early or
        # ends soon, and each such end would let one packet in.
        nothing = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0)
        sock.send(HEADER.pack(HEADER.size + len(nothing), DELETE, REQUEST, 0, 0) + nothing)
        for first in range(0, most + 2 * BATCH, BATCH):
            sock.send(b"".join(_message(number) for number in range(first, first + BATCH)))
            _drain(sock)
    return most


def _drain(sock: socket.socket) -> None:
    while True:
        try:
            sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: errors of the last ones, which no longer fit
            continue


def _message(number: int) -> bytes:
    body = struct.pack(">BBH", socket.AF_INET, 0, 0)
    body += _tuple(1, number, back=False) + _tuple(2, number, back=True)
    body += attr(3, struct.pack(">I", ASSURED)) + attr(7, struct.pack(">I", TIMEOUT_S))
    return HEADER.pack(HEADER.size + len(body), NEW, REQUEST | CREATE, number, 0) + body


def _tuple(kind: int, number: int, *, back: bool) -> bytes:
    there, here = struct.pack(">I", 0x0A630000 + (number >> 12)), socket.inet_aton("10.98.0.1")
    ports = (1000 + (number & 0xFFF), 9)
    source, target = (here, there) if back else (there, here)
    first, second = reversed(ports) if back else ports
    ips = attr(1, source) + attr(2, target)
    layer = (
        attr(1, bytes([17]))
        + attr(2, struct.pack(">H", first))
        + attr(3, struct.pack(">H", second))
    )
    return attr(kind | NESTED, attr(1 | NESTED, ips) + attr(2 | NESTED, layer))
