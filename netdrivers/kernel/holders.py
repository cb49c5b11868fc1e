"""Who has a port: the kernel's sockets, and the processes that have them open. Blocks.

Also sockets that are bound and do not listen are found (Linux 6.8; before, such a one has no
name here), which /proc/net/tcp leaves out.

Source: sock_diag(7), linux/inet_diag.h, net/tcp_states.h, proc(5).
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from netdrivers.errors import Refused, Unavailable
from netdrivers.kernel.codec import DUMP, REQUEST, Request, parse_attrs
from netdrivers.kernel.netlink import Netlink

SOCK_DIAG: Final = 4
BY_FAMILY: Final = 20
ALL_STATES: Final = 0xFFFFFFFF
CLOSE, LISTEN = 7, 10
SKV6ONLY: Final = 11
NO_COOKIE: Final = 0xFFFFFFFF
PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}
COMMAND_MAX: Final = 160  # characters of a command line that are worth telling
HEAD: Final = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
PORTS: Final = struct.Struct(">HH")
REST: Final = struct.Struct("=III")  # interface, cookie
MESSAGE: Final = 72  # bytes of inet_diag_msg, before its attributes

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One socket that has a port."""

    ip: IPAddress
    port: int
    state: int
    inode: int
    v6only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that has a socket open."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """What keeps a port from being bound.

    ``leftovers``: nothing but connections whose server has ended.
    """

    leftovers: bool = False
    holder: Holder | None = None


def read_clash(
    enter: AbstractContextManager[None], protocol: str, ip: IPAddress, port: int
) -> Clash:
    """Look in the namespace that ``enter`` leads to. What cannot be found out is left out."""
    with enter:
        netlink = Netlink(SOCK_DIAG)
    try:
        found = [each for each in _dump(netlink, protocol, port) if clashes(each, ip)]
    except (Refused, Unavailable):  # a kernel without inet_diag: nobody can be named
        return Clash()
    finally:
        netlink.close()
    has_owner = [each for each in found if protocol != "tcp" or each.state in {CLOSE, LISTEN}]
    leftovers = bool(found) and not has_owner
    return Clash(leftovers=leftovers, holder=find_holder(has_owner or found))


def clashes(sock: Found, ip: IPAddress) -> bool:
    """Whether a socket keeps ``ip`` from being bound: [::] may have IPv4, too."""
    mapped = sock.ip.ipv4_mapped if isinstance(sock.ip, IPv6Address) else None
    own = mapped or sock.ip
    if own.version != ip.version:
        return ip.version == 4 and own.is_unspecified and not sock.v6only
    return own == ip or own.is_unspecified or ip.is_unspecified


def _dump(netlink: Netlink, protocol: str, port: int) -> Iterator[Found]:
    for family in (socket.AF_INET, socket.AF_INET6):
        request = build_request(family, PROTOCOLS[protocol], port)
        found = (parse_socket(body) for _, body in netlink.dump(request))
        # the kernel keeps to the port only for sockets that listen or are connected: of those
        # that are merely bound, as all the ports we hold ourselves, it tells every one
        yield from (each for each in found if each.port == port)


def build_request(family: int, protocol: int, port: int) -> Request:
    """Ask for all sockets of a family whose local port is ``port``."""
    body = HEAD.pack(family, protocol, 0, 0, ALL_STATES) + PORTS.pack(port, 0)
    return Request(BY_FAMILY, REQUEST | DUMP, body + bytes(32) + REST.pack(0, NO_COOKIE, NO_COOKIE))


def parse_socket(body: bytes) -> Found:
    """Read one inet_diag_msg."""
    family, state = body[0], body[1]
    is_v4 = family == socket.AF_INET
    port, _ = PORTS.unpack_from(body, 4)
    (inode,) = struct.unpack_from("=I", body, MESSAGE - 4)
    return Found(
        ip=IPv4Address(body[8:12]) if is_v4 else IPv6Address(body[8:24]),
        port=port,
        state=state,
        inode=inode,
        v6only=parse_attrs(body, MESSAGE).get(SKV6ONLY, b"\0")[0] == 1,
    )


def find_holder(sockets: Iterable[Found], proc: Path = Path("/proc")) -> Holder | None:
    """The first process that has one of the sockets open, those of a namespace of its own too."""
    links = {Path(f"socket:[{each.inode}]") for each in sockets if each.inode}
    if not links:
        return None
    processes = [each for each in proc.iterdir() if each.name.isdecimal()]
    for process in sorted(processes, key=lambda each: int(each.name)):
        with suppress(OSError):  # it ended, or is none of ours to look at
            if _has_any(process / "fd", links):
                return Holder(pid=int(process.name), command=_command(process))
    return None


def _has_any(directory: Path, links: set[Path]) -> bool:
    for fd in directory.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if fd.readlink() in links:
                return True
    return False


def _command(process: Path) -> str:
    words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    line = b" ".join(words).decode(errors="replace")
    shown = line or (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return "".join(c if c.isprintable() else "?" for c in shown)[:COMMAND_MAX]
