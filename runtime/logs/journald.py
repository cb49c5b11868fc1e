"""Log lines as entries of systemd's journal. Pure.

Source: systemd, docs/JOURNAL_NATIVE_PROTOCOL.md; field names as Docker's driver has them.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from runtime.contract.logs import LogLine
from runtime.contract.shipping import Origin

PRIORITIES: Final = {"stdout": "6", "stderr": "3"}
PIECE_MAX_BYTES: Final = 32 << 10  # a datagram must fit the socket's buffer, 208 KiB by default
NOT_NAME: Final = re.compile(r"[^A-Z0-9_]")
NAME_MAX: Final = 64
NS: Final = 1_000_000_000


def build_entries(line: LogLine, origin: Origin) -> Iterator[bytes]:
    """One entry, or several marked as partial for a long line."""
    is_whole = line.data.endswith(b"\n")
    text = line.data.removesuffix(b"\n")
    starts = range(0, max(len(text), 1), PIECE_MAX_BYTES)
    fields = _fields(line, origin)
    for at in starts:
        piece = text[at : at + PIECE_MAX_BYTES]
        is_last = at == starts[-1]
        partial = {} if is_last and is_whole else {"CONTAINER_PARTIAL_MESSAGE": b"true"}
        yield _entry({**fields, **partial, "MESSAGE": piece})


def _fields(line: LogLine, origin: Origin) -> dict[str, bytes]:
    seconds, rest_ns = divmod(line.time_ns, NS)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    facts = {
        "PRIORITY": PRIORITIES[line.stream],
        "SYSLOG_IDENTIFIER": origin.tag,
        "SYSLOG_TIMESTAMP": f"{moment}.{rest_ns:09}Z",
        "CONTAINER_ID": origin.container_id[:12],
        "CONTAINER_ID_FULL": origin.container_id,
        "CONTAINER_NAME": origin.container_name,
        "CONTAINER_TAG": origin.tag,
        "IMAGE_NAME": origin.image_name,
    }
    asked = {_name(key): value for key, value in origin.attributes.items() if key != "tag"}
    return {key: value.encode() for key, value in {**asked, **facts}.items()}


def _name(key: str) -> str:
    """A field's name as the journal takes it: not one of its own, which begin with "_"."""
    return NOT_NAME.sub("_", key.upper()).lstrip("_0123456789")[:NAME_MAX] or "X"


def _entry(fields: Mapping[str, bytes]) -> bytes:
    return b"".join(_field(key.encode(), value) for key, value in fields.items())


def _field(key: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return key + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return key + b"=" + value + b"\n"
