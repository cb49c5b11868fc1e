"""The keys that leave a container running: found within what is typed. Pure."""

from typing import Final

from nodeagent.cli.grammar import UsageError

DEFAULT_KEYS: Final = "ctrl-p,ctrl-q"
_CONTROLS: Final = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse_keys(words: str) -> bytes:
    """Read ``ctrl-p,ctrl-q`` or ``a,b`` as the bytes a terminal sends.

    Raises:
        UsageError: names the key that is none.
    """
    return bytes(_parse_key(key) for key in (words or DEFAULT_KEYS).split(","))


def _parse_key(key: str) -> int:
    if len(key) == 1 and key.isascii():
        return ord(key)
    letter = key.removeprefix("ctrl-").lower()
    if len(letter) == 1 and key.startswith("ctrl-") and letter in _CONTROLS:
        return _CONTROLS.index(letter)
    raise UsageError(f"--detach-keys: {key!r} is no key; write a letter or ctrl-LETTER, by commas")


class DetachFilter:
    """Passes input on, but holds back what may become the keys."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Give what is to be passed on, and whether the keys are complete."""
        out = bytearray()
        for byte in data:
            self._held += bytes([byte])
            if self._held == self._keys:
                return bytes(out), True
            while not self._keys.startswith(self._held):
                out.append(self._held[0])
                self._held = self._held[1:]
        return bytes(out), False
