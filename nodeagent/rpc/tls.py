"""A program's certificate, with which it speaks to an agent by TCP."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nodeagent.rpc.errors import ConnectionLost

FOLDER_VARIABLE: Final = "NODEAGENT_CERT_PATH"
DEFAULT_FOLDER: Final = "~/.config/nodeagent"
# what `cluster cert` writes: field, name of the file, variable
FILES: Final = (
    ("authority", "ca.pem", "NODEAGENT_TLS_CACERT"),
    ("certificate", "cert.pem", "NODEAGENT_TLS_CERT"),
    ("key", "key.pem", "NODEAGENT_TLS_KEY"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Whom we trust, and who we are; PEM."""

    authority: Path
    certificate: Path
    key: Path


def find_files(environ: Mapping[str, str]) -> TlsFiles:
    """Each file by its own variable, else in ``NODEAGENT_CERT_PATH``, else in ``~/.config``."""
    folder = Path(environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER).expanduser()
    return TlsFiles(
        **{field: Path(environ.get(variable) or folder / name) for field, name, variable in FILES}
    )


def open_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 with both sides' certificates checked.

    Raises:
        ConnectionLost: a file is missing or wrong; names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for path in (files.authority, files.certificate, files.key):
        if not os.access(path, os.R_OK):
            raise ConnectionLost(
                f"cannot read {path}: make it by `nodeagent cluster cert NAME --role R --out DIR`"
                f" on a manager, and name it by --tlscacert, --tlscert, --tlskey or"
                f" {FOLDER_VARIABLE}=DIR"
            )
    path = files.authority
    try:
        context.load_verify_locations(path)
        path = files.certificate
        context.load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as exc:
        reason = exc.reason or str(exc)
        raise ConnectionLost(f"{path} is no PEM, or not for its key: {reason}") from exc
    return context
