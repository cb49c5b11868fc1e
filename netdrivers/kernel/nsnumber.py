"""Numbers of namespaces as seen from another one: by them the monitor tells who spoke.

Source: linux/include/uapi/linux/net_namespace.h.
"""

from typing import Final

from netdrivers.kernel.codec import ACK, I32, REQUEST, U32, Request, attr, parse_attrs

NEWNSID, GETNSID, NETNSA_NSID, NETNSA_FD = 88, 90, 1, 3
HEAD: Final = bytes(4)


def give(fd: int) -> Request:
    """Give the namespace behind a descriptor the next free number; refused if it has one."""
    body = HEAD + attr(NETNSA_NSID, I32.pack(-1)) + attr(NETNSA_FD, U32.pack(fd))
    return Request(NEWNSID, REQUEST | ACK, body)


def ask(fd: int) -> Request:
    """Ask for the number of the namespace behind a descriptor."""
    return Request(GETNSID, REQUEST | ACK, HEAD + attr(NETNSA_FD, U32.pack(fd)))


def parse(body: bytes) -> int:
    """Read the body of a RTM_NEWNSID message; -1: it has none."""
    return int(I32.unpack(parse_attrs(body, len(HEAD))[NETNSA_NSID])[0])
