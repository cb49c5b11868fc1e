"""How lists and objects are printed: tables for people, JSON and templates for programs."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from nodeagent.cli.call import Call, Row
from nodeagent.cli.grammar import Flag, many, switch, text
from nodeagent.cli.template import compile_template, show

_FIELD: Final = re.compile(r"\{\{[^}]*?\.(\w+)\s*\}\}")
_PADDING: Final = 3
_MIN_WIDTH: Final = 10  # both as Docker's tab writer

FORMAT: Final = text("format", "Output: table, json, 'table TEMPLATE' or TEMPLATE", "f")
LIST_FORMAT: Final = text("format", "Output: table, json, 'table TEMPLATE' or TEMPLATE")
LIST_FLAGS: Final[tuple[Flag, ...]] = (
    LIST_FORMAT,
    many("filter", "Show only what fits KEY=VALUE", "f"),
    switch("quiet", "Print names or ids only", "q"),
    switch("no-trunc", "Do not shorten ids and texts"),
)

Columns = Sequence[tuple[str, str]]  # heading, field


def render_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align cells as Docker does; the last column is not padded."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [
        max(_MIN_WIDTH, _PADDING + max(map(len, column))) for column in zip(*lines, strict=True)
    ]
    return "".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells[:-1], widths, strict=False)]
    return "".join([*padded, cells[-1]]).rstrip() + "\n"


def render_list(rows: Sequence[Row], columns: Columns, format_: str) -> str:
    """Render the rows of a list in the way ``--format`` asks for."""
    if format_ == "json":
        return "".join(json_line(row) + "\n" for row in rows)
    if format_ in {"", "table"}:
        cells = [[show(row[field]) for _, field in columns] for row in rows]
        return render_table([heading for heading, _ in columns], cells)
    if format_.startswith("table "):
        return _render_table_template(rows, columns, format_.removeprefix("table "))
    render = compile_template(format_)
    return "".join(render(row) + "\n" for row in rows)


def _render_table_template(rows: Sequence[Row], columns: Columns, source: str) -> str:
    """Make columns of what tabs separate, under Docker's headings."""
    known = {field: heading for heading, field in columns}
    source = source.strip().replace("\\t", "\t")
    heading = _FIELD.sub(lambda found: known.get(found[1], _spaced(found[1])), source)
    render = compile_template(source)
    lines = [render(row).split("\t") for row in rows]
    return render_table(heading.split("\t"), lines)


def _spaced(field: str) -> str:
    """``CreatedAt`` -> ``CREATED AT``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", field).upper()


def print_list(call: Call, rows: Sequence[Row], columns: Columns, *, name: str) -> int:
    """Print a list as its flags ask for; ``name`` is the field that ``-q`` prints."""
    if call.values.is_on("quiet"):
        put("".join(f"{row[name]}\n" for row in rows))
    else:
        put(render_list(rows, columns, call.values.text("format")))
    return 0


def print_objects(objects: Sequence[Row], format_: str) -> None:
    """Print what ``inspect`` found: a JSON array, or a line by template for each."""
    if format_ in {"", "json", "pretty"}:
        put(json_pretty(list(objects)) + "\n")
    else:
        render = compile_template(format_)
        put("".join(render(obj) + "\n" for obj in objects))


def print_object(obj: object, format_: str, people: Callable[[], str]) -> int:
    """Print one object: as people like it, as JSON on one line, or by template."""
    if format_ in {"", "table"}:
        put(people())
    elif format_ == "json":
        put(json_line(obj) + "\n")
    else:
        put(compile_template(format_)(obj) + "\n")
    return 0


def json_line(value: object) -> str:
    """JSON on one line."""
    import msgspec

    return msgspec.json.encode(value).decode()


def json_pretty(value: object) -> str:
    """JSON with Docker's indentation."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=4).decode()


def put(words: str) -> None:
    """Write to standard output, now."""
    sys.stdout.write(words)
    sys.stdout.flush()


def short_id(full: str) -> str:
    """Twelve digits, as Docker shows ids."""
    return full.removeprefix("sha256:")[:12]


def shorten(words: str, limit: int) -> str:
    """Cut with an ellipsis."""
    return words if len(words) <= limit else words[: limit - 1] + "…"


def human_bytes(count: float, *, binary: bool = False) -> str:
    """Docker's sizes: powers of 1000 (``1.2MB``), or of 1024 (``1.2MiB``)."""
    base, units = (1024, "B KiB MiB GiB TiB PiB") if binary else (1000, "B kB MB GB TB PB")
    for unit in units.split():
        if abs(count) < base or unit.startswith("P"):
            return f"{count:.4g}{unit}"
        count /= base
    raise AssertionError("the last unit is a P")
