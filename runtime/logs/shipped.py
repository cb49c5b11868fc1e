"""How far a log was shipped: one line of text beside the log, whole or not at all."""

from pathlib import Path
from typing import Final

from runtime.contract.logs import Cursor

BEGINNING: Final = Cursor(generation=1, offset=0)


def read(path: Path) -> Cursor:
    """The cursor that was written; the beginning of the log if none is there, or no cursor."""
    try:
        generation, _, offset = path.read_text(encoding="ascii").partition(":")
        return Cursor(generation=int(generation), offset=int(offset))
    except (FileNotFoundError, ValueError):  # torn by a power cut: repeated, not lost
        return BEGINNING


def write(path: Path, cursor: Cursor) -> None:
    """Replace the cursor. Not forced to disk: after a power cut lines may be shipped again."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name("new")
    new.write_text(str(cursor), encoding="ascii")
    new.replace(path)
