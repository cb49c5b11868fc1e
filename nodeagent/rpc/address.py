"""Where the agent listens: ``unix:///PATH`` or ``tcp://HOST:PORT``."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

DEFAULT_HOST: Final = "unix:///run/nodeagent/nodeagent.sock"
DEFAULT_PORT: Final = 2377
_UNIX: Final = "unix://"
_TCP: Final = "tcp://"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """An agent elsewhere."""

    host: str
    port: int


def parse_host(host: str) -> str | TcpAddress:
    """Return the path of the socket, or host and port.

    Raises:
        ValueError: of neither form.
    """
    if host.startswith(_TCP):
        return _parse_tcp(host)
    path = host.removeprefix(_UNIX)
    if path == host or not path.startswith("/"):
        raise ValueError(f"host {host!r}: expected {_UNIX}/PATH or {_TCP}HOST:PORT")
    return path


def _parse_tcp(host: str) -> TcpAddress:
    expected = f"host {host!r}: expected {_TCP}HOST:PORT, an IPv6 address in brackets"
    try:
        parts = urlsplit(host)
        name, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ValueError(expected) from exc
    if not name or port == 0 or parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError(expected)
    return TcpAddress(name, DEFAULT_PORT if port is None else port)
