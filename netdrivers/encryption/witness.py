"""What the host's own links see of encrypted networks in clear: nothing, and if not, it is counted.

A packet socket whose filter lets only clear VXLAN of those networks pass: so it costs nothing as
long as all is well, and it is no rule of nftables that somebody could flush. What comes in finds no
socket here and is counted; what goes out would be a leak.
"""

import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Final

import trio

from netdrivers.contract.encryption import Tunnel
from netdrivers.contract.specs import IPAddress
from netdrivers.kernel.packetfilter import (
    HOST,
    INSTRUCTION,
    IPV4,
    IPV6,
    JA,
    JEQ,
    JSET,
    LDB,
    LDH,
    LDH_X,
    LDW,
    LDW_X,
    LDXMSH,
    OUTGOING,
    PROTOCOL_AT,
    RET,
    RSH,
    attach,
    open_tap,
)

Code = tuple[int, int, int, int]  # operation, steps to leave out if true, if false, constant

UDP: Final = 17
NOT_FIRST: Final = 0x1FFF  # offset of a fragment: no header of UDP in it
HEAD_BYTES: Final = 96  # of each packet: the headers are enough
MOST_TUNNELS: Final = 900  # 4,096 instructions are what the kernel takes
BATCH, PAUSE_S = 256, 0.05  # of a flood: the rest is dropped by the socket, and counted by it
SOL_PACKET, PACKET_STATISTICS = 263, 6
GONE: Final = 0
STATISTICS: Final = struct.Struct("=II")
NOTHING: Final = (RET, 0, 0, 0)


def build_filter(tunnels: Iterable[Tunnel]) -> bytes:
    """Lets clear VXLAN of these networks pass. Pure."""
    listed = sorted(tunnels, key=lambda each: (each.port, each.vni))[:MOST_TUNNELS]
    four = [
        (LDB, 0, 0, 9), (JEQ, 1, 0, UDP), NOTHING,
        (LDH, 0, 0, 6), (JSET, 0, 1, NOT_FIRST), NOTHING,
        (LDXMSH, 0, 0, 0), *_one_of(listed, (LDH_X, 0, 0, 2), (LDW_X, 0, 0, 12)),
    ]  # fmt: skip
    six = [
        (JEQ, 1, 0, IPV6), NOTHING, (LDB, 0, 0, 6), (JEQ, 1, 0, UDP), NOTHING,
        *_one_of(listed, (LDH, 0, 0, 42), (LDW, 0, 0, 52)),
    ]  # fmt: skip
    codes = [(LDH, 0, 0, PROTOCOL_AT), (JEQ, 1, 0, IPV4), (JA, 0, 0, len(four)), *four, *six]
    return b"".join(INSTRUCTION.pack(*code) for code in codes)


def _one_of(listed: list[Tunnel], load_port: Code, load_vni: Code) -> list[Code]:
    codes = []
    for port, some in groupby(listed, key=lambda each: each.port):
        vnis = [code for each in some for code in ((JEQ, 0, 1, each.vni), (RET, 0, 0, HEAD_BYTES))]
        body = [load_vni, (RSH, 0, 0, 8), *vnis, NOTHING]
        codes += [load_port, (JEQ, 1, 0, port), (JA, 0, 0, len(body)), *body]
    return [*codes, NOTHING]


def read_head(packet: bytes) -> tuple[bytes, bytes, int]:
    """(source, destination, VNI) of a packet that has passed. Pure."""
    if packet[0] >> 4 == 4:
        at = 4 * (packet[0] & 15)
        source, target = packet[12:16], packet[16:20]
    else:
        at = 40
        source, target = packet[8:24], packet[24:40]
    return source, target, int.from_bytes(packet[at + 12 : at + 15], "big")


class Witness:
    """Counts, once it is open. ``lost``: packets of a flood.

    ``came`` and ``left``: packets by VNI; 0 stands for networks that are not sought any more.
    """

    def __init__(self) -> None:
        self.came: Counter[int] = Counter()
        self.left: Counter[int] = Counter()
        self.lost = 0
        self._sock: socket.socket | None = None
        self._hosts: frozenset[bytes] = frozenset()
        self._tunnels: frozenset[Tunnel] = frozenset()
        self._opened = trio.Event()

    def look_for(self, hosts: Collection[IPAddress], tunnels: frozenset[Tunnel]) -> None:
        """Count from now on what is of these networks and from or to this host.

        Blocks for a moment; to be called in the host's namespace the first time.
        """
        self._hosts = frozenset(each.packed for each in hosts)
        if self._sock is None:
            self._sock = open_tap(build_filter(tunnels))
        elif tunnels != self._tunnels:
            attach(self._sock, build_filter(tunnels))
        self._tunnels = tunnels
        for counts in (self.came, self.left):
            for vni in set(counts) - {each.vni for each in tunnels} - {GONE}:
                counts[GONE] += counts.pop(vni)

    def start(self) -> None:
        """It is open: let ``run`` read."""
        self._opened.set()

    async def run(self) -> None:
        """Read until cancelled."""
        await self._opened.wait()
        while (sock := self._sock) is not None:
            await trio.lowlevel.wait_readable(sock)
            self._read(sock)
            await trio.sleep(PAUSE_S)

    def _read(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                data, (_, _, kind, *_) = sock.recvfrom(HEAD_BYTES)
            except BlockingIOError:
                break
            source, target, vni = read_head(data)
            if kind == HOST and target in self._hosts:
                self.came[vni] += 1
            elif kind == OUTGOING and source in self._hosts:
                self.left[vni] += 1
        raw = sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size)
        self.lost += STATISTICS.unpack(raw)[1]

    def close(self) -> None:
        """Look no more."""
        sock, self._sock = self._sock, None
        if sock is not None:
            trio.lowlevel.notify_closing(sock)
            sock.close()
