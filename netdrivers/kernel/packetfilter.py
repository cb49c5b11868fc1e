"""Packet sockets that hear only what a small program lets pass: the kernel runs it for each packet.

Source: man 7 packet; linux/include/uapi/linux/{filter,bpf_common,if_packet}.h.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

INSTRUCTION: Final = struct.Struct("=HBBI")
SO_ATTACH_FILTER: Final = 26
PROTOCOL_AT: Final = 0xFFFFF000  # SKF_AD_OFF: the ethernet protocol, whatever the link
LDH, LDB, LDW, LDXMSH, LDH_X, LDW_X = 0x28, 0x30, 0x20, 0xB1, 0x48, 0x40
AND, RSH, JEQ, JSET, JA, RET = 0x54, 0x74, 0x15, 0x45, 0x05, 0x06
ALL: Final = 0x0003
IPV4, IPV6 = 0x0800, 0x86DD
PACKET_BYTES: Final = 1 << 16
HOST, OTHERHOST, OUTGOING = 0, 3, 4
ACCEPT, REJECT = "accept", "reject"

Step = tuple[int, int, str, str]  # code, constant, where to when equal, else ("" = the next)


def assemble(steps: Sequence[tuple[str, Step]]) -> bytes:
    """A program of labelled steps; ``accept`` and ``reject`` are its two ends."""
    whole = [*steps, (REJECT, (RET, 0, "", "")), (ACCEPT, (RET, 0xFFFF, "", ""))]
    at = {label: n for n, (label, _) in enumerate(whole) if label}
    packed = b""
    for n, (_, (code, constant, then, otherwise)) in enumerate(whole):
        jumps = [at[label] - n - 1 if label else 0 for label in (then, otherwise)]
        packed += INSTRUCTION.pack(code, *jumps, constant)
    return packed


def attach(sock: socket.socket, program: bytes) -> None:
    """Let the program decide from now on, and forget what came in before."""
    held = ctypes.create_string_buffer(program)
    head = struct.pack("@HP", len(program) // INSTRUCTION.size, ctypes.addressof(held))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return


def open_tap(program: bytes) -> socket.socket:
    """A socket that hears on all links of the calling thread's namespace, from IP headers on."""
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ALL))
    try:
        attach(sock, program)
    except OSError:
        sock.close()
        raise
    return sock
