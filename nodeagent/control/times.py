"""Times as people and Docker's clients write them. Pure."""

import re
from datetime import UTC, datetime

from nodeagent.errors import Invalid

NEVER = "0001-01-01T00:00:00Z"  # what Docker shows for "has not happened"
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")
_FRACTION = re.compile(r"\.(\d{6})\d+")  # datetime reads microseconds at most


def build_time(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds; 0 is Docker's "never"."""
    if seconds <= 0:
        return NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def build_stamp(seconds: float) -> str:
    """A time as part of a name: ``20261126T140500Z``; sorts as time does."""
    return re.sub(r"[-:]|\.\d+", "", build_time(seconds))


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0 for "" and "never"."""
    if text in {"", NEVER}:
        return 0.0
    value = datetime.fromisoformat(_FRACTION.sub(r".\1", text))
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def parse_duration(text: str) -> float | None:
    """Seconds of ``1h30m``; None if the text is no duration."""
    if not text or _DURATION.sub("", text):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(text))


def build_duration(seconds: float) -> str:
    """``1m30s``, ``500ms``: as Go prints a duration that has no more than milliseconds."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail


def parse_since(text: str, *, now: float, field: str) -> float:
    """Seconds since the epoch of what ``--since`` accepts; 0 for "".

    Raises:
        Invalid: neither RFC 3339, nor seconds since the epoch, nor a duration before now.
    """
    if not text:
        return 0.0
    ago = parse_duration(text)
    if ago is not None:
        return now - ago
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else parse_time(text)
    except ValueError as exc:
        raise Invalid(
            "not a time: give RFC 3339, seconds since the epoch or a duration like 10m",
            field=field,
            value=text,
        ) from exc


def build_ago(seconds: float) -> str:
    """A duration in Docker's words: "About a minute", "3 hours"."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds < 2 else f"{int(seconds)} seconds"
    if seconds < 120:
        return "About a minute"
    if seconds < 3600:
        return f"{int(seconds // 60)} minutes"
    if seconds < 2 * 3600:
        return "About an hour"
    return _long_ago(seconds / 3600)


def _long_ago(hours: float) -> str:
    for limit_h, unit_h, word in (
        (48, 1, "hours"),
        (24 * 14, 24, "days"),
        (24 * 60, 24 * 7, "weeks"),
        (24 * 730, 24 * 30, "months"),
    ):
        if hours < limit_h:
            return f"{int(hours // unit_h)} {word}"
    return f"{int(hours // (24 * 365))} years"


def build_size(size_bytes: int) -> str:
    """Bytes in Docker's decimal units: "4.27MB"."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g}{unit}" if unit != "B" else f"{size_bytes}B"
        value /= 1000
    return f"{value:.3g}PB"
