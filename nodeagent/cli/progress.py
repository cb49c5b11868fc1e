"""How a pull goes on: a bar per layer on a terminal, plain lines elsewhere."""

from collections.abc import Iterable
from typing import Final, TextIO

from nodeagent.cli.call import Row, as_row, pick
from nodeagent.cli.output import human_bytes

_BAR_WIDTH: Final = 40
_DIGITS: Final = 12
_COUNTS: Final = ("current_bytes", "total_bytes")


class Bars:
    """Items in, text for a terminal out. Pure: knows only how many lines it has drawn."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def feed(self, item: Row) -> str:
        """Give what redraws the line of this layer in place."""
        layer = str(item["layer"])
        is_new = layer not in self._lines
        self._lines[layer] = render_layer(item)
        if is_new:
            return self._lines[layer] + "\n"
        up = len(self._lines) - list(self._lines).index(layer)
        # up, erase the line, write, and back down to the first column
        return f"\x1b[{up}A\x1b[2K\r{self._lines[layer]}\x1b[{up}B\r"


def render_layer(item: Row) -> str:
    """One line about one layer."""
    head = short_layer(str(item["layer"]))
    status, done, total = item["status"], *(pick(item, key, int) for key in _COUNTS)
    line = f"{head}: {status}" if head else str(status)
    if not 0 <= done < total:
        return line
    filled = done * _BAR_WIDTH // total
    bar = ("=" * filled + ">").ljust(_BAR_WIDTH + 1)
    return f"{line} [{bar}] {human_bytes(done)}/{human_bytes(total)}"


def short_layer(layer: str) -> str:
    """Twelve digits of a digest; other words stay whole."""
    return layer.removeprefix("sha256:")[:_DIGITS] if layer.startswith("sha256:") else layer


class Lines:
    """Items in, a line out when the status of a layer changes. Pure."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def feed(self, item: Row) -> str:
        """Give the line, or nothing."""
        layer, status = str(item["layer"]), str(item["status"])
        if self._last.get(layer) == status:
            return ""
        self._last[layer] = status
        head = short_layer(layer)
        return f"{head}: {status}\n" if head else f"{status}\n"


class Progress:
    """Shows items on ``out`` (None: nowhere) and knows whether bytes were fetched."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._drawn = Bars() if out is not None and out.isatty() else Lines()
        self.has_fetched = False

    def show(self, items: Iterable[object]) -> None:
        """Show all items of a stream."""
        for item in items:
            self.take(item)

    def take(self, item: object) -> None:
        """Show one item."""
        row = as_row(item)
        self.has_fetched |= pick(row, "total_bytes", int) > 0
        if self._out is not None:
            self._out.write(self._drawn.feed(row))
            self._out.flush()
