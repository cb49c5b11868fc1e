"""Who listens in a namespace, and how full its connection tracking is, as /proc has it."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

from netdrivers.kernel.sysctl import read_sysctl

NET: Final = Path("/proc/thread-self/net")
LISTEN: Final = {"tcp": "0A", "udp": "07"}  # TCP_LISTEN; TCP_CLOSE is a socket without a peer
IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket that takes what comes to a port."""

    protocol: Literal["tcp", "udp"]
    ip: IPAddress
    port: int


def read_listeners() -> frozenset[Listener]:
    """All listeners in the namespace of the calling thread."""
    found: set[Listener] = set()
    for file in ("tcp", "udp", "tcp6", "udp6"):
        path = NET / file
        if path.exists():  # no tcp6 where the kernel was started without IPv6
            found |= parse_listeners(
                path.read_text(encoding="ascii"), "tcp" if file.startswith("tcp") else "udp"
            )
    return frozenset(found)


def parse_listeners(text: str, protocol: Literal["tcp", "udp"]) -> set[Listener]:
    """Read /proc/net/{tcp,udp}[6]: a heading, then ``sl local remote state …``."""
    found = set()
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[3] == LISTEN[protocol]:
            address, _, port = words[1].partition(":")
            found.add(Listener(protocol=protocol, ip=_ip(address), port=int(port, 16)))
    return found


def _ip(digits: str) -> IPAddress:
    # words of the machine's byte order, printed as numbers
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    return ip_address(struct.pack(f"={len(words)}I", *words))


def read_tracking() -> tuple[int, int]:
    """Tracked connections of the namespace of the calling thread, and the most there may be."""
    count = read_sysctl("net.netfilter.nf_conntrack_count")
    most = read_sysctl("net.netfilter.nf_conntrack_max")
    return int(count or 0), int(most or 0)
