"""Which authorities a registry's certificate may come from: the host's, ours, and its own."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import trio

from runtime import errors
from runtime.image.origin import Origin


class Trust:
    """What TLS checks each origin against.

    Args:
        ca_file: authorities for all, PEM.
        folders: ``HOST:PORT/*.crt`` in them are authorities for that origin alone.
    """

    def __init__(self, ca_file: Path | None, folders: Sequence[Path]) -> None:
        self._for_all = (ca_file,) if ca_file else ()
        self._folders = folders
        self._known: dict[tuple[Path, ...], ssl.SSLContext] = {}
        self._lock = trio.Lock()

    async def context(self, origin: Origin) -> ssl.SSLContext:
        """Read the authorities of an origin once, in a thread: it takes some 20 ms (Invalid)."""
        async with self._lock:
            return await trio.to_thread.run_sync(self._context, origin)

    def _context(self, origin: Origin) -> ssl.SSLContext:
        files = (*self._for_all, *authorities_of(origin, self._folders))
        if files not in self._known:
            self._known[files] = _load(files)
        return self._known[files]


def authorities_of(origin: Origin, folders: Sequence[Path]) -> list[Path]:
    """The files of one origin's own authorities; for port 443 its folder may be without one."""
    if origin.host.startswith("."):
        return []  # a name that a redirect gave must not lead out of the folder
    names = dict.fromkeys((origin.netloc, f"{origin.host}:{origin.port}"))
    return [
        path
        for folder in folders
        for name in names
        for path in sorted((folder / name).glob("*.crt"))
    ]


def _load(files: Sequence[Path]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for file in files:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as exc:
            why = f"expected certificates in PEM: {exc}"
            raise errors.Invalid("read certificate authorities", file=str(file), why=why) from exc
    return context
