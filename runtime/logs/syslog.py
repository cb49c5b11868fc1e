"""Log lines as syslog messages. Pure.

Source: RFC 5424 (message), RFC 5426 (UDP), RFC 6587 section 3.4.1 (octet counting on streams).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from runtime.contract.logs import LogLine
from runtime.contract.shipping import Origin

SEVERITIES: Final = {"stdout": 6, "stderr": 3}  # informational, error
NAME_MAX: Final = {"host": 255, "app": 48, "key": 32}
PIECE_MAX_BYTES: Final = 6 << 10  # servers cut messages off at 8 KiB by default
NOT_PRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
NOT_KEY: Final = re.compile(r'[^\x21-\x7e]|[="\]]')
ESCAPED: Final = re.compile(r'(["\\\]])')
# RFC 5612's number for those who have none of their own
SD_ID: Final = "container@32473"
MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
NS: Final = 1_000_000_000


def build_messages(
    line: LogLine, origin: Origin, *, facility: int, local: bool = False
) -> Iterator[bytes]:
    """One message, or numbered parts of a line that is too long for one.

    Args:
        local: as glibc's syslog(3) writes: what reads /dev/log takes nothing else apart.
    """
    text = line.data.removesuffix(b"\n")
    pieces = [text[at : at + PIECE_MAX_BYTES] for at in range(0, len(text), PIECE_MAX_BYTES)]
    head = _local_head(line, origin, facility) if local else _head(line, origin, facility)
    for number, piece in enumerate(pieces or [b""], start=1):
        part = {"part": f"{number}/{len(pieces)}"} if len(pieces) > 1 else {}
        data = "" if local else f"{_data(origin, part)} "
        yield f"{head} {data}".encode() + piece.replace(b"\0", b"")


def frame(message: bytes) -> bytes:
    """A message as it stands in a stream: whatever is in it, its end is known."""
    return b"%d %s" % (len(message), message)


def _head(line: LogLine, origin: Origin, facility: int) -> str:
    seconds, rest_ns = divmod(line.time_ns, NS)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    stamp = moment.isoformat(timespec="microseconds").removesuffix("+00:00")
    host, app = _name(origin.host, "host"), _name(origin.tag, "app")
    priority = facility * 8 + SEVERITIES[line.stream]
    return f"<{priority}>1 {stamp}Z {host} {app} - {line.stream}"


def _local_head(line: LogLine, origin: Origin, facility: int) -> str:
    """In UTC: who reads the socket puts its own time there."""
    moment = datetime.fromtimestamp(line.time_ns // NS, UTC)
    stamp = f"{MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S}"
    priority = facility * 8 + SEVERITIES[line.stream]
    return f"<{priority}>{stamp} {_name(origin.tag, 'app').replace(':', '_')}:"


def _name(text: str, what: str) -> str:
    return NOT_PRINTABLE.sub("_", text)[: NAME_MAX[what]] or "-"


def _data(origin: Origin, part: dict[str, str]) -> str:
    facts = {"id": origin.container_id, "name": origin.container_name, "image": origin.image_name}
    pairs = {**origin.attributes, **facts, **part}
    params = (f'{_key(key)}="{_value(value)}"' for key, value in pairs.items())
    return f"[{SD_ID} {' '.join(params)}]"


def _key(text: str) -> str:
    return NOT_KEY.sub("_", text)[: NAME_MAX["key"]] or "_"


def _value(text: str) -> str:
    return ESCAPED.sub(r"\\\1", text.replace("\n", " ").replace("\0", ""))
