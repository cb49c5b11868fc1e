"""Where plugins are found: sockets, and files that name an address.

NAME.sock or NAME/NAME.sock is a socket; NAME.spec has a URL in it; NAME.json has Name, Addr and
TLSConfig. The folders are looked at in order, sockets before files, as Docker does.
Source: docs.docker.com, "Docker plugin API", plugin discovery.
"""

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from voldrivers.errors import Invalid

FOLDERS: Final = tuple(
    Path(folder)
    for folder in ("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins")
)
NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
FILE_MAX_BYTES: Final = 64 << 10


class Tls(Struct, frozen=True, rename="pascal"):
    """Whom to trust and who we are; paths of PEM files."""

    insecure_skip_verify: bool = False
    ca_file: str = msgspec.field(name="CAFile", default="")
    cert_file: str = ""
    key_file: str = ""


class _Description(Struct, frozen=True, rename="pascal"):
    addr: str
    name: str = ""
    tls_config: Tls | None = msgspec.field(name="TLSConfig", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """How a plugin is reached: a socket's ``path``, or ``host`` and ``port``."""

    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


def find(name: str, folders: Sequence[Path]) -> Address | None:
    """The address of a plugin, or None. A few looks at the disk.

    Raises:
        Invalid: a file that names it cannot be used; says which.
    """
    if not NAME.fullmatch(name):
        return None
    for folder in folders:
        for path in (folder / f"{name}.sock", folder / name / f"{name}.sock"):
            if _is_socket(path):
                return Address(path=str(path))
        for path, read in (
            (folder / f"{name}.spec", _read_spec),
            (folder / f"{name}.json", _read_json),
        ):
            try:
                with path.open("rb") as file:
                    text = file.read(FILE_MAX_BYTES)
            except OSError:
                continue
            return read(text, path)
    return None


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _read_spec(text: bytes, path: Path) -> Address:
    return parse_address(text.decode(errors="replace").strip(), None, path)


def _read_json(text: bytes, path: Path) -> Address:
    try:
        found = msgspec.json.decode(text, type=_Description)
    except msgspec.DecodeError as exc:
        raise Invalid("the plugin's file cannot be read", field=str(path), why=str(exc)) from exc
    return parse_address(found.addr, found.tls_config, path)


def parse_address(url: str, tls: Tls | None, source: Path) -> Address:
    """``unix:///PATH``, ``tcp://HOST:PORT``, ``http://…`` or ``https://…``.

    Raises:
        Invalid: none of these.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return Address(path=parts.path)
    if parts.scheme in {"tcp", "http", "https"} and parts.hostname and port:
        wants_tls = parts.scheme == "https"
        return Address(host=parts.hostname, port=port, tls=tls or (Tls() if wants_tls else None))
    raise Invalid(
        "a plugin's address is unix:///PATH or tcp://HOST:PORT", field=str(source), value=url[:200]
    )
