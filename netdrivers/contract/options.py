"""Options of overlays that the agent acts on, too."""

from collections.abc import Mapping
from typing import Final

ENCRYPTED: Final = "encrypted"
MULTICAST: Final = "multicast"
VNI_MAX: Final = (1 << 24) - 1
_OFF: Final = frozenset({"false", "0"})


def is_on(options: Mapping[str, str], option: str, *, default: bool) -> bool:
    """What such an option says; given without a value it is on, as in Docker."""
    text = options.get(option)
    return default if text is None else text not in _OFF
