"""Which line of a TOML text sets a key, for messages about it."""

import re
from collections.abc import Iterator
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([\w.\"' -]+?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"\s*([\w.\"'-]+)\s*=")


def find_line(text: str, key: str) -> int:
    """Return the line that sets ``key`` (or the nearest thing around it), counted from 1."""
    best, best_length = 1, 0
    for number, place in _places(text):
        inside = key == place or key.startswith((f"{place}.", f"{place}["))
        if inside and len(place) > best_length:
            best, best_length = number, len(place)
    return best


def _places(text: str) -> Iterator[tuple[int, str]]:
    """Give line and dotted name of every header and key."""
    section = ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _plain(header[2])
            if header[1] == "[[":
                counts[section] = counts.get(section, -1) + 1
                section += f"[{counts[section]}]"
            yield number, section
        elif key := _KEY.match(line):
            yield number, f"{section}.{_plain(key[1])}".lstrip(".")


def _plain(name: str) -> str:
    return name.replace('"', "").replace("'", "").replace(" ", "")
