"""Host names in mount options: the kernel's network file systems want addresses."""

from typing import Final

import trio

from voldrivers.errors import Unavailable

NETWORK_TYPES: Final = ("nfs", "nfs4", "cifs", "smb3")


async def with_address(kind: str, options: str) -> str:
    """The options with ``addr=NAME`` resolved, as Docker does; other types are left alone.

    Raises:
        Unavailable: the name has no address.
    """
    if kind not in NETWORK_TYPES:
        return options
    words = []
    for word in options.split(","):
        key, _, value = word.partition("=")
        words.append(f"{key}={await _address(value)}" if key == "addr" else word)
    return ",".join(words)


async def _address(host: str) -> str:
    try:
        found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
    except OSError as exc:
        raise Unavailable("the server's name has no address", addr=host, says=str(exc)) from exc
    return str(found[0][4][0])
