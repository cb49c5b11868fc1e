"""Sizes, processors and ranges as people write them. Pure."""

import re
from typing import Final

from nodeagent.cli.grammar import LIMIT, UsageError, check_range, parse_whole

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s?([bkmgtp]?)i?b?", re.IGNORECASE)
_CPUS: Final = re.compile(r"(\d*)(?:\.(\d{0,9}))?")
_SPAN: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|ms|s|m|h)")
_UNITS_S: Final = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_POWERS: Final = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(flag: str, words: str) -> int:
    """Read ``64m`` or ``1.5g`` (powers of 1024) as bytes.

    Raises:
        UsageError: not a size.
    """
    match = _SIZE.fullmatch(words)
    if match is None:
        raise UsageError(f"--{flag}: {words!r} is not a size; write for instance 64m or 1.5g")
    size = float(match[1]) * 1024 ** _POWERS[match[2].lower()]
    return check_range(f"--{flag}: {words!r}", int(min(size, LIMIT)))


def parse_seconds(flag: str, words: str) -> float:
    """Read ``1m30s``, ``500ms`` or ``0`` as seconds.

    Raises:
        UsageError: not a duration.
    """
    if words == "0":
        return 0.0
    if not words or _SPAN.sub("", words):
        raise UsageError(f"--{flag}: {words!r} is not a duration; write for instance 30s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _SPAN.findall(words))


def parse_cpus(words: str) -> int:
    """Read ``1.5`` processors as 1,500,000,000 nano-processors, exactly."""
    match = _CPUS.fullmatch(words)
    if match is None or not (match[1] or match[2]):
        raise UsageError(f"--cpus: {words!r} is not a number of processors, such as 1.5")
    what = f"--cpus: {words!r}, in billionths,"
    whole = parse_whole(what, match[1] or "0")
    return check_range(what, whole * 10**9 + int((match[2] or "").ljust(9, "0")))


def parse_port_range(flag: str, words: str) -> range:
    """Read ``80`` or ``80-90``.

    Raises:
        UsageError: not a port or range from 1 to 65535.
    """
    first, dash, last = words.partition("-")
    if not first.isdecimal() or not (last.isdecimal() if dash else True):
        raise UsageError(f"--{flag}: {words!r} is not a port; write 80 or 8000-8010")
    what = f"--{flag}: {words!r}"
    ports = range(parse_whole(what, first), parse_whole(what, last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise UsageError(f"--{flag}: {words!r} is not within 1-65535, in rising order")
    return ports
