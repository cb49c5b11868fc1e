"""Log lines as syslog messages. Pure.

Source: RFC 5424 (message), RFC 5426 (UDP), RFC 6587 section 3.4.1 (octet counting on streams).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
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


class Messages:
    """Makes the messages of one container's lines.

    Args:
        local: as glibc's syslog(3) writes: what reads /dev/log takes nothing else apart.
    """

    def __init__(self, origin: Origin, *, facility: int, local: bool = False) -> None:
        self._origin = origin
        self._local = local
        self._priority = {stream: facility * 8 + each for stream, each in SEVERITIES.items()}
        self._host, self._app = _name(origin.host, "host"), _name(origin.tag, "app")
        self._data = _data(origin, {})

    def build(self, line: LogLine) -> Iterator[bytes]:
        """One message, or numbered parts of a line that is too long for one."""
        text = line.data.removesuffix(b"\n").replace(b"\0", b"")
        head = self._local_head(line) if self._local else self._head(line)
        if len(text) <= PIECE_MAX_BYTES:
            yield (head if self._local else f"{head}{self._data} ").encode() + text
            return
        starts = range(0, len(text), PIECE_MAX_BYTES)
        for number, at in enumerate(starts, start=1):
            part = _data(self._origin, {"part": f"{number}/{len(starts)}"})
            front = head if self._local else f"{head}{part} "
            yield front.encode() + text[at : at + PIECE_MAX_BYTES]

    def _head(self, line: LogLine) -> str:
        seconds, rest_ns = divmod(line.time_ns, NS)
        stamp = f"{_second(seconds)}.{rest_ns // 1000:06}Z"
        priority = self._priority[line.stream]
        return f"<{priority}>1 {stamp} {self._host} {self._app} - {line.stream} "

    def _local_head(self, line: LogLine) -> str:
        """In UTC: who reads the socket puts its own time there."""
        moment = datetime.fromtimestamp(line.time_ns // NS, UTC)
        stamp = f"{MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S}"
        return f"<{self._priority[line.stream]}>{stamp} {self._app.replace(':', '_')}: "


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Cached, for neighbours share their second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def frame(message: bytes) -> bytes:
    """A message as it stands in a stream: whatever is in it, its end is known."""
    return b"%d %s" % (len(message), message)


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
