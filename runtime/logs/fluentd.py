"""Log lines as Fluentd's forward protocol, and its acknowledgements. Pure.

Source: Fluentd Forward Protocol Specification v1 (forward mode, EventTime, ack).
"""

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from runtime.contract.logs import LogLine
from runtime.contract.shipping import Origin
from runtime.errors import Unavailable

EVENT_TIME: Final = 0  # the extension's type
NS: Final = 1_000_000_000
ANSWER_MAX_BYTES: Final = 4 << 10


def build_forward(lines: Sequence[LogLine], origin: Origin, *, chunk: str) -> bytes:
    """One message with all lines; ``chunk`` is what the server is to answer, "" for no answer."""
    entries = [(_time(line.time_ns), _record(line, origin)) for line in lines]
    options: dict[str, object] = {"size": len(entries)}
    if chunk:
        options["chunk"] = chunk
    return msgspec.msgpack.encode([origin.tag, entries, options])


def _time(time_ns: int) -> msgspec.msgpack.Ext:
    seconds, rest_ns = divmod(time_ns, NS)
    return msgspec.msgpack.Ext(EVENT_TIME, struct.pack(">II", seconds & 0xFFFFFFFF, rest_ns))


def _record(line: LogLine, origin: Origin) -> dict[str, object]:
    text = line.data.removesuffix(b"\n")
    try:
        shown: str | bytes = text.decode()
    except UnicodeDecodeError:
        shown = text  # as binary: nothing is changed
    record: dict[str, object] = {
        **origin.attributes,
        "container_id": origin.container_id,
        "container_name": f"/{origin.container_name}",
        "source": line.stream,
        "log": shown,
    }
    if not line.data.endswith(b"\n"):
        record["partial_message"] = "true"
    return record


class Answers:
    """Bytes of the server in, whether our chunk is acknowledged out."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes, chunk: str) -> bool:
        """Whether the answer is there (Unavailable: it is another one than it should be)."""
        self._data += data
        try:
            answer = msgspec.msgpack.decode(self._data)
        except msgspec.DecodeError as exc:
            if "truncated" in str(exc) and len(self._data) < ANSWER_MAX_BYTES:
                return False
            raise Unavailable("read fluentd's answer", reason="no msgpack") from exc
        self._data = b""
        if not isinstance(answer, dict) or answer.get("ack") != chunk:
            raise Unavailable("read fluentd's answer", reason="not of what was sent")
        return True
