"""Docker's volume plugin protocol, version 1: what is said. Pure.

Source: docs.docker.com, "Docker volume plugins" and "Docker plugin API".
"""

from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct, field

from voldrivers.errors import Refused, Unavailable

T = TypeVar("T", bound="Answer")

MEDIA_TYPE: Final = "application/vnd.docker.plugins.v1.2+json"
IMPLEMENTS: Final = "VolumeDriver"
OK: Final = 200
PATH_MAX: Final = 4096


class Answer(Struct, frozen=True):
    """What every answer may have."""

    err: str = field(name="Err", default="")


class Activated(Answer, frozen=True, rename="pascal"):
    """``/Plugin.Activate``."""

    implements: list[str] | None = None


class Mounted(Answer, frozen=True, rename="pascal"):
    """``/VolumeDriver.Mount`` and ``Path``."""

    mountpoint: str = ""


class Volume(Struct, frozen=True, rename="pascal"):
    """One volume of a plugin."""

    name: str = ""
    mountpoint: str = ""
    created_at: str = ""
    status: dict[str, object] | None = None


class Got(Answer, frozen=True, rename="pascal"):
    """``/VolumeDriver.Get``."""

    volume: Volume | None = None


class Scope(Struct, frozen=True, rename="pascal"):
    """What a plugin can do."""

    scope: str = "local"


class Capable(Answer, frozen=True, rename="pascal"):
    """``/VolumeDriver.Capabilities``."""

    capabilities: Scope | None = None


def build_request(**fields: object) -> bytes:
    """The body of a request; field names as Docker writes them."""
    return msgspec.json.encode(fields)


def read_answer(type_: type[T], status: int, body: bytes, *, plugin: str, call: str) -> T:
    """What the plugin said.

    Raises:
        Refused: it said why not, in its words. Unavailable: what it said is no answer.
    """
    try:
        answer = msgspec.json.decode(body or b"{}", type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Unavailable(
            "the plugin answered what is not of the protocol",
            plugin=plugin, call=call, status=status, says=_shorten(body), why=str(exc),
        ) from exc  # fmt: skip
    if answer.err:
        raise Refused(f"the plugin refused: {answer.err}", plugin=plugin, call=call)
    if status != OK:
        raise Unavailable(
            "the plugin failed", plugin=plugin, call=call, status=status, says=_shorten(body)
        )
    return answer


def _shorten(body: bytes) -> str:
    return " ".join(body[:200].decode(errors="replace").split())


def check_mountpoint(text: str, *, plugin: str) -> Path:
    """Where the plugin says that the bytes are.

    Raises:
        Unavailable: not a place that could be mounted into a container.
    """
    parts = text.split("/")
    if not text.startswith("/") or ".." in parts or "\0" in text or len(text) > PATH_MAX:
        raise Unavailable(
            "the plugin names a mountpoint that is none", plugin=plugin, says=text[:200]
        )
    if not set(parts) - {"", "."}:
        raise Unavailable("the plugin names / as mountpoint", plugin=plugin)
    return Path(text)
