"""A packet socket that hears our packets, and no others, on all links of a namespace.

One socket a namespace, filtered in the kernel: a busy host's traffic never reaches us.
"""

from collections.abc import Iterator

from netdrivers.kernel.packetfilter import (
    ACCEPT,
    AND,
    IPV4,
    IPV6,
    JEQ,
    LDB,
    LDH,
    LDH_X,
    LDW,
    LDXMSH,
    PACKET_BYTES,
    PROTOCOL_AT,
    REJECT,
    Step,
    assemble,
    open_tap,
)


def build_filter(version: int, protocol: str, tag: int) -> bytes:
    """Lets our tag pass: packets of ours, answers to them, and errors about them."""
    steps = _steps4(protocol, tag) if version == 4 else _steps6(protocol, tag)
    return assemble(steps)


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


class Tap:
    """Hears on all links of the namespace of the calling thread."""

    def __init__(self, version: int, protocol: str, tag: int) -> None:
        self.sock = open_tap(build_filter(version, protocol, tag))

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
