"""Options of volumes: sizes, file system types and what may stand after ``mount -o``. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from voldrivers.errors import Invalid

_SIZE: Final = re.compile(r"(\d+)([kmgtp]?)(i?b)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_MODE: Final = re.compile(r"0?[0-7]{3,4}")
# mount(8) acts on these itself: it runs programs, makes directories or lets users unmount
_OF_MOUNT: Final = ("x-", "X-", "helper", "uhelper", "comment", "user", "owner", "group")


def parse_size(text: str, *, option: str = "size") -> int:
    """Bytes of ``64m``, ``10G``, ``1073741824``; powers of 1024 as Docker's.

    Raises:
        Invalid: names the option.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise Invalid("not a size; write it as 512m or 10g", field=f"options.{option}", value=text)
    return int(found[1]) * _UNITS[found[2].lower()]


def check_type(text: str) -> str:
    """A type of file system as mount(8) takes it (Invalid)."""
    if not _TYPE.fullmatch(text):
        raise Invalid("not a type of file system", field="options.type", value=text)
    return text


def check_mode(text: str) -> str:
    """Permissions in octal (Invalid)."""
    if not _MODE.fullmatch(text):
        raise Invalid("not a mode; write it as 0750", field="options.mode", value=text)
    return text


def check_device(text: str) -> str:
    """What to mount: one line without control characters (Invalid)."""
    if not text or not text.isprintable():
        raise Invalid("not a device or source", field="options.device", value=text)
    return text


def split_mount_options(text: str) -> list[str]:
    """The words of ``o=``, in order.

    Raises:
        Invalid: characters that are none, or an option that mount(8) itself acts upon.
    """
    if not text.isprintable() or '"' in text or "\\" in text:
        raise Invalid("mount options are printable, without quotes", field="options.o", value=text)
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        name = word.partition("=")[0]
        if name in _OF_MOUNT or name.startswith(("x-", "X-")):
            raise Invalid(
                f"mount option {name!r} is not for volumes", field="options.o", value=word
            )
    return words


def check_allowed(words: Iterable[str], allowed: frozenset[str]) -> None:
    """Refuse mount options that are not on a driver's list (Invalid names it and the list)."""
    for word in words:
        if word.partition("=")[0] not in allowed:
            raise Invalid(
                f"mount option {word!r} is not allowed; there are {', '.join(sorted(allowed))}",
                field="options.o",
                value=word,
            )
