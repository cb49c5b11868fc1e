r"""The part of Go's templates that scripts use with ``--format``. Pure, and can only read.

Field paths, ``json upper lower len join index println``, ``range … end``, ``if … else … end``;
``\t`` and ``\n`` as Docker reads them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nodeagent.cli.grammar import UsageError

_TAG: Final = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class _Block:
    """``range`` or ``if`` with what is inside, and what is after ``else``."""

    kind: str
    words: list[str]
    body: "list[_Node]"
    other: "list[_Node]"


_Node = str | list[str] | _Block


def compile_template(source: str) -> Callable[[object], str]:
    """Make a function that renders a value.

    Raises:
        UsageError: the template is not understood; also raised by the function for a field
            that is not there.
    """
    tokens = _tokens(source.replace("\\t", "\t").replace("\\n", "\n"))
    nodes, end = _parse(tokens)
    if end:
        raise UsageError(f"--format: {{{{{end}}}}} without range or if")
    return lambda value: "".join(_render(nodes, value, value))


def _tokens(source: str) -> Iterator[str | list[str]]:
    position = 0
    for match in _TAG.finditer(source):
        yield source[position : match.start()]
        yield _split(match[1])
        position = match.end()
    if "{{" in source[position:]:
        raise UsageError("--format: '{{' without '}}'")
    yield source[position:]


def _split(inside: str) -> list[str]:
    """Give the words of a tag; literals keep a quote in front."""
    words = [m[2] or '"' + (m[1] or "") for m in _WORD.finditer(inside)]
    if not words:
        raise UsageError("--format: '{{}}' is empty; '{{.}}' is the whole object")
    return words


def _parse(tokens: Iterator[str | list[str]]) -> tuple[list[_Node], str]:
    """Read nodes up to ``end`` or ``else``, which is returned, or to the end of all."""
    nodes: list[_Node] = []
    for token in tokens:
        if isinstance(token, str):
            nodes.append(token)
        elif token[0] in {"end", "else"}:
            return nodes, token[0]
        elif token[0] in {"range", "if"}:
            nodes.append(_parse_block(token, tokens))
        else:
            nodes.append(token)
    return nodes, ""


def _parse_block(words: list[str], tokens: Iterator[str | list[str]]) -> _Block:
    body, end = _parse(tokens)
    other: list[_Node] = []
    if end == "else":
        other, end = _parse(tokens)
    if end != "end":
        raise UsageError(f"--format: {{{{{words[0]}}}}} without {{{{end}}}}")
    return _Block(words[0], words[1:], body, other)


def _render(nodes: Sequence[_Node], dot: object, root: object) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, list):
            yield show(_evaluate(node, dot, root))
        else:
            yield from _render_block(node, dot, root)


def _render_block(block: _Block, dot: object, root: object) -> Iterator[str]:
    value = _evaluate(block.words, dot, root)
    if not value:
        yield from _render(block.other, dot, root)
    elif block.kind == "if":
        yield from _render(block.body, dot, root)
    else:
        for item in _items(value):
            yield from _render(block.body, item, root)


def _items(value: object) -> list[object]:
    """Give what ``range`` goes over: a list, or a map by sorted keys."""
    if isinstance(value, Mapping):
        return [value[key] for key in sorted(value)]
    if isinstance(value, list):
        return value
    raise UsageError(f"--format: range over {show(value)!r}, which is neither list nor map")


def _evaluate(words: list[str], dot: object, root: object) -> object:
    if not words:
        raise UsageError("--format: range and if need a field")
    name, args = words[0], words[1:]
    if name in _FUNCTIONS:
        return _apply(name, [_operand(arg, dot, root) for arg in args])
    if args:
        raise UsageError(f"--format: unknown function {name!r}; there are {', '.join(_FUNCTIONS)}")
    return _operand(name, dot, root)


def _operand(word: str, dot: object, root: object) -> object:
    if word.startswith('"'):
        return word[1:]
    if word.lstrip("-").isdigit():
        return int(word)
    if word.startswith("$"):
        dot, word = root, word[1:] or "."
    if not word.startswith("."):
        raise UsageError(f"--format: {word!r} is no field; a field begins with a dot, as in .Name")
    return _walk(word, dot)


def _walk(path: str, value: object) -> object:
    for name in filter(None, path.split(".")):
        if not isinstance(value, Mapping) or name not in value:
            there = ", ".join(map(str, value)) if isinstance(value, Mapping) else "no fields"
            raise UsageError(f"--format: no field {name!r} in {path}; there are: {there}")
        value = value[name]
    return value


def _apply(name: str, args: list[object]) -> object:
    try:
        return _FUNCTIONS[name](args)
    except (TypeError, ValueError, IndexError):
        raise UsageError(f"--format: {name} cannot be used on {args!r}") from None


def show(value: object) -> str:
    """Write a value as Go's templates do."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<no value>"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(show, value)) + "]"
    return str(value)


def _json(args: Sequence[object]) -> str:
    import msgspec

    (value,) = args
    return msgspec.json.encode(value).decode()


def _index(args: Sequence[object]) -> object:
    """Look up; a missing key of a map is empty, as in Go."""
    value, *keys = args
    for key in keys:
        if isinstance(value, list) and isinstance(key, int):
            value = value[key]
        elif isinstance(value, Mapping):
            value = value.get(key, "")
        else:
            raise TypeError
    return value


def _join(args: Sequence[object]) -> str:
    value, separator = args
    if not isinstance(value, list):
        raise TypeError
    return str(separator).join(map(show, value))


def _len(args: Sequence[object]) -> int:
    (value,) = args
    if not isinstance(value, str | list | Mapping):
        raise TypeError
    return len(value)


def _upper(args: Sequence[object]) -> str:
    (value,) = args
    return show(value).upper()


def _lower(args: Sequence[object]) -> str:
    (value,) = args
    return show(value).lower()


def _println(args: Sequence[object]) -> str:
    return " ".join(map(show, args)) + "\n"


_FUNCTIONS: Final[Mapping[str, Callable[[Sequence[object]], object]]] = {
    "json": _json,
    "upper": _upper,
    "lower": _lower,
    "len": _len,
    "join": _join,
    "index": _index,
    "println": _println,
}
