"""A packet socket that hears our packets, and no others, on all links of a namespace.

One socket a namespace, filtered in the kernel: a busy host's traffic never reaches us.

Source: man 7 packet; linux/include/uapi/linux/{filter,bpf_common}.h.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator
from typing import Final

INSTRUCTION: Final = struct.Struct("=HBBI")
SO_ATTACH_FILTER: Final = 26
PROTOCOL_AT: Final = 0xFFFFF000  # SKF_AD_OFF: the ethernet protocol, whatever the link
LDH, LDB, LDW, LDXMSH, LDH_X, AND, JEQ, RET = 0x28, 0x30, 0x20, 0xB1, 0x48, 0x54, 0x15, 0x06
ALL: Final = 0x0003
IPV4, IPV6 = 0x0800, 0x86DD
PACKET_BYTES: Final = 1 << 16
OTHERHOST, OUTGOING = 3, 4
ACCEPT, REJECT = "accept", "reject"

Step = tuple[int, int, str, str]  # code, constant, where to when equal, else ("" = the next)


def build_filter(version: int, protocol: str, tag: int) -> bytes:
    """Lets our tag pass: packets of ours, answers to them, and errors about them."""
    steps = _steps4(protocol, tag) if version == 4 else _steps6(protocol, tag)
    return _assemble([*steps, ("reject", (RET, 0, "", "")), ("accept", (RET, 0xFFFF, "", ""))])


def _steps4(protocol: str, tag: int) -> list[tuple[str, Step]]:
    number = {"tcp": 6, "udp": 17, "icmp": 1}[protocol]
    return [
        ("", (LDH, PROTOCOL_AT, "", "")),
        ("", (JEQ, IPV4, "", REJECT)),
        ("", (LDB, 9, "", "")),
        ("", (JEQ, number, "", "error")),
        ("", (LDH, 4, "", "")),  # identification
        ("", (AND, 0xFFFE, "", "")),
        ("", (JEQ, tag, ACCEPT, "")),
        ("", (LDXMSH, 0, "", "")),
        ("", (LDH_X, 4 if protocol == "icmp" else 2, "", "")),
        ("", (AND, 0xFFFE, "", "")),
        ("", (JEQ, tag, ACCEPT, "")),
        ("error", (LDB, 9, "", "")),
        ("", (JEQ, 1, "", REJECT)),
        ("", (LDH, 20 + 8 + 4, "", "")),  # the identification of what it is about
        ("", (AND, 0xFFFE, "", "")),
        ("", (JEQ, tag, ACCEPT, REJECT)),
    ]


def _steps6(protocol: str, tag: int) -> list[tuple[str, Step]]:
    number = {"tcp": 6, "udp": 17, "icmp": 58}[protocol]
    return [
        ("", (LDH, PROTOCOL_AT, "", "")),
        ("", (JEQ, IPV6, "", REJECT)),
        ("", (LDW, 0, "", "")),  # flow label
        ("", (AND, 0xFFFFE, "", "")),
        ("", (JEQ, tag, ACCEPT, "")),
        ("", (LDB, 6, "", "")),
        ("", (JEQ, number, "", "error")),
        ("", (LDH, 40 + (4 if protocol == "icmp" else 2), "", "")),
        ("", (AND, 0xFFFE, "", "")),
        ("", (JEQ, tag, ACCEPT, "")),
        ("error", (LDB, 6, "", "")),
        ("", (JEQ, 58, "", REJECT)),
        ("", (LDW, 40 + 8, "", "")),
        ("", (AND, 0xFFFFE, "", "")),
        ("", (JEQ, tag, ACCEPT, REJECT)),
    ]


def _assemble(steps: list[tuple[str, Step]]) -> bytes:
    at = {label: n for n, (label, _) in enumerate(steps) if label}
    packed = b""
    for n, (_, (code, constant, then, otherwise)) in enumerate(steps):
        jumps = [at[label] - n - 1 if label else 0 for label in (then, otherwise)]
        packed += INSTRUCTION.pack(code, *jumps, constant)
    return packed


class Tap:
    """Hears on all links of the namespace of the calling thread."""

    def __init__(self, version: int, protocol: str, tag: int) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self.sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ALL))
        program = build_filter(version, protocol, tag)
        held = ctypes.create_string_buffer(program)
        head = struct.pack("@HP", len(program) // INSTRUCTION.size, ctypes.addressof(held))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
        for _ in self.hear():  # what came in before the filter was there
            pass

    def hear(self) -> Iterator[tuple[str, int, bytes]]:
        """What has come: link, kind of packet, and the packet from its IP header on."""
        while True:
            try:
                data, (link, _, kind, *_) = self.sock.recvfrom(PACKET_BYTES)
            except BlockingIOError:
                return
            yield link, kind, data

    def close(self) -> None:
        """Stop hearing."""
        self.sock.close()
