"""Logging, set up once by the daemon: text or JSON lines on stderr, with fields.

A log line is a constant message and fields (``extra={"network": name}``). Fields whose names
speak of secrets are never written.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import msgspec

AUDIT: Final = "nodeagent.audit"
REDACTED: Final = "(secret)"
_SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "credential", "authorization")
_SECRET_NAMES: Final = frozenset({"auth", "key", "private_key", "preshared_key"})
_MAX_FIELD_CHARS: Final = 4096
# What every record has; all else came with `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logs(
    *,
    level: str = "info",
    format: Literal["text", "json"] = "text",  # noqa: A002 - the name of the setting
    stream: TextIO | None = None,
) -> None:
    """Send all records of ``level`` and above to ``stream`` (stderr); replaces earlier set-ups."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    logging.raiseExceptions = False  # a log line that cannot be written must not stop its writer
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)  # who changed what is always written
    logging.getLogger("hpack").setLevel(logging.WARNING)  # it tells every header of every call


class TextLines(logging.Formatter):
    """``2026-01-02T03:04:05.678Z INFO nodeagent.x: link added link=br-1``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; a traceback follows on its own lines."""
        parts = [_time(record), record.levelname, f"{record.name}:", _one_line(record.getMessage())]
        parts += (f"{name}={_quote(value)}" for name, value in _fields(record))
        line = " ".join(parts)
        trace = _trace(record)
        return f"{line}\n{trace}" if trace else line


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, also with a traceback."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name if name not in line else f"{name}_", v) for name, v in _fields(record))
        if trace := _trace(record):
            line["traceback"] = trace
        return msgspec.json.encode(line, enc_hook=str).decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for name, value in vars(record).items():
        if name not in _STANDARD:
            yield name, REDACTED if _is_secret(name) else _bounded(value)


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return lower in _SECRET_NAMES or any(word in lower for word in _SECRET_WORDS)


def _bounded(value: object) -> object:
    if isinstance(value, bool | int | float | None):
        return value
    text = str(value)
    return text if len(text) <= _MAX_FIELD_CHARS else f"{text[:_MAX_FIELD_CHARS]}…"


def _quote(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(char in text for char in " \"='")
    return text if plain and text else msgspec.json.encode(text).decode()


def _one_line(text: str) -> str:
    """Keep a message from forging further lines."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
