"""Where the agent listens: ``unix:///PATH``."""

from collections.abc import Mapping
from typing import Final

DEFAULT_HOST: Final = "unix:///run/nodeagent/nodeagent.sock"
HOST_VARIABLE: Final = "NODEAGENT_HOST"
_SCHEME: Final = "unix://"


def find_host(flag: str | None, environ: Mapping[str, str]) -> str:
    """Choose ``--host``, else ``NODEAGENT_HOST``, else the default."""
    return flag or environ.get(HOST_VARIABLE) or DEFAULT_HOST


def parse_host(host: str) -> str:
    """Return the path of the socket.

    Raises:
        ValueError: not of the form ``unix:///PATH``.
    """
    path = host.removeprefix(_SCHEME)
    if path == host or not path.startswith("/"):
        raise ValueError(f"host {host!r}: expected {_SCHEME}/PATH")
    return path
