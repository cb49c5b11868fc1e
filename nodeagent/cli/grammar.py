"""Docker's command line grammar: tables of flags in, values and words out. Pure.

Not argparse: it cannot stop at the first word without reading what follows it, refuses values
that begin with a dash, and knows no ``--rm=false``; and its import costs as much as this CLI.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from nodeagent.cli.call import Call

Value = str | int | bool
_BOOLS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
LIMIT: Final = 2**63


class UsageError(Exception):
    """The command line cannot be understood; the message names the word and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One ``--name``; ``completes`` names what its value is: an object kind, or "file"."""

    name: str
    help: str
    short: str = ""
    kind: Literal["bool", "text", "list", "int"] = "text"
    default: Value = ""
    choices: tuple[str, ...] = ()
    completes: str = ""


def switch(name: str, help: str, short: str = "", *, default: bool = False) -> Flag:  # noqa: A002
    """Describe a flag without value."""
    return Flag(name=name, help=help, short=short, kind="bool", default=default)


def text(name: str, help: str, short: str = "", default: str = "", completes: str = "") -> Flag:  # noqa: A002
    """Describe a flag whose last value counts."""
    return Flag(name=name, help=help, short=short, default=default, completes=completes)


def many(name: str, help: str, short: str = "", completes: str = "") -> Flag:  # noqa: A002
    """Describe a flag that may be given several times."""
    return Flag(name=name, help=help, short=short, kind="list", completes=completes)


def number(name: str, help: str, short: str = "", default: int = 0) -> Flag:  # noqa: A002
    """Describe a flag with an integer."""
    return Flag(name=name, help=help, short=short, kind="int", default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How many words a verb takes, how they are called, and what they name."""

    usage: str = ""
    least: int = 0
    most: int | None = 0
    completes: str = ""


NO_WORDS: Final = Words()


def one(usage: str, completes: str = "") -> Words:
    """Describe exactly one word."""
    return Words(usage=usage, least=1, most=1, completes=completes)


def several(usage: str, completes: str = "", *, least: int = 1) -> Words:
    """Describe as many words as one likes."""
    usage = f"{usage} [{usage}...]" if least else f"[{usage}...]"
    return Words(usage=usage, least=least, most=None, completes=completes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command; ``options_first``: whatever follows the first word is not ours to read."""

    name: str
    help: str
    run: Callable[["Call"], int]
    flags: tuple[Flag, ...] = ()
    words: Words = NO_WORDS
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    options_first: bool = False
    failure_code: int = 1


class Values:
    """What the flags of a command line say."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        flags = list(flags)
        self._lists: dict[str, list[str]] = {f.name: [] for f in flags if f.kind == "list"}
        self._others = {f.name: f.default for f in flags if f.kind != "list"}
        self.given: set[str] = set()

    def set(self, flag: Flag, raw: str) -> None:
        """Take one ``--flag=raw``."""
        self.given.add(flag.name)
        if flag.kind == "list":
            self._lists[flag.name].append(raw)
        else:
            self._others[flag.name] = _parse_value(flag, raw)

    def text(self, name: str) -> str:
        """Value of a text flag."""
        return str(self._others[name])

    def is_on(self, name: str) -> bool:
        """Value of a switch."""
        return self._others[name] is True

    def number(self, name: str) -> int:
        """Value of an integer flag; 0 if it was not given and has no default."""
        return int(self._others[name] or 0)

    def list(self, name: str) -> list[str]:
        """All values of a repeatable flag."""
        return self._lists[name]


def _parse_value(flag: Flag, raw: str) -> Value:
    if flag.kind == "bool":
        if raw not in _BOOLS:
            raise UsageError(f"--{flag.name}: {raw!r} is neither true nor false")
        return _BOOLS[raw]
    if flag.kind == "int":
        return parse_whole(f"--{flag.name}: {raw!r}", raw)
    if flag.choices and raw not in flag.choices:
        raise UsageError(f"--{flag.name}: {raw!r} is not one of {', '.join(flag.choices)}")
    return raw


def parse_whole(what: str, raw: str) -> int:
    """Read a whole number; ``what`` begins the message.

    Raises:
        UsageError: it is none, or one too large for the agent.
    """
    try:
        return check_range(what, int(raw))
    except ValueError:
        raise UsageError(f"{what} is not a whole number") from None


def check_range(what: str, value: int) -> int:
    """Refuse a number that no call to the agent can carry (UsageError)."""
    if -LIMIT <= value < LIMIT:
        return value
    raise UsageError(f"{what} is not within {-LIMIT} to {LIMIT - 1} (64 bits with sign)")


def parse(
    flags: Sequence[Flag], argv: Sequence[str], *, options_first: bool = False
) -> tuple[Values, list[str]]:
    """Split a command line into the values of its flags and its words.

    Raises:
        UsageError: an unknown flag, a value that is missing or of the wrong kind.
    """
    values, words, rest = Values(flags), list[str](), list(argv)
    names = {f"--{flag.name}": flag for flag in flags}
    names |= {f"-{flag.short}": flag for flag in flags if flag.short}
    while rest:
        word = rest.pop(0)
        if word == "--":
            return values, words + rest
        if word.startswith("--"):
            _take_long(word, rest, names, values)
        elif word.startswith("-") and word != "-":
            _take_short(word, rest, names, values)
        elif options_first:
            return values, [word, *rest]
        else:
            words.append(word)
    return values, words


def _take_long(word: str, rest: list[str], names: Mapping[str, Flag], values: Values) -> None:
    name, equals, raw = word.partition("=")
    flag = names.get(name)
    if flag is None:
        raise UsageError(f"unknown flag: {name}")
    values.set(flag, raw if equals else _next_value(flag, name, rest))


def _take_short(word: str, rest: list[str], names: Mapping[str, Flag], values: Values) -> None:
    """Take a cluster like ``-itd`` or ``-p80:80`` or ``-p=80:80``."""
    for at, letter in enumerate(word[1:], start=2):
        flag = names.get(f"-{letter}")
        if flag is None:
            raise UsageError(f"unknown shorthand flag: {letter!r} in {word}")
        raw = word[at:]
        if raw.startswith("="):
            return values.set(flag, raw[1:])
        if flag.kind != "bool":
            return values.set(flag, raw or _next_value(flag, f"-{letter}", rest))
        values.set(flag, "true")
    return None


def _next_value(flag: Flag, name: str, rest: list[str]) -> str:
    if flag.kind == "bool":
        return "true"
    if not rest:
        raise UsageError(f"flag needs an argument: {name}")
    return rest.pop(0)


def check_words(path: str, verb: Verb, words: Sequence[str]) -> None:
    """Refuse too few or too many words, in Docker's words.

    Raises:
        UsageError: with the usage.
    """
    least, most = verb.words.least, verb.words.most
    if len(words) >= least and (most is None or len(words) <= most):
        return
    if most == 0:
        wanted = "accepts no arguments"
    elif least == most:
        wanted = f"requires exactly {least} argument{'s' * (least != 1)}"
    elif len(words) < least:
        wanted = f"requires at least {least} argument{'s' * (least != 1)}"
    else:
        wanted = f"requires at most {most} argument{'s' * (most != 1)}"
    raise UsageError(f'"{path}" {wanted}; usage: {usage(path, verb)}')


def usage(path: str, verb: Verb) -> str:
    """One line that shows how the verb is written."""
    return " ".join(filter(None, [path, "[OPTIONS]" if verb.flags else "", verb.words.usage]))


def render_help(path: str, verb: Verb, extra: Sequence[Flag] = ()) -> str:
    """All that ``--help`` prints for a verb."""
    parts = [f"Usage:  {usage(path, verb)}", "", verb.help]
    if verb.aliases:
        parts += ["", "Aliases:", "  " + ", ".join([verb.name, *verb.aliases])]
    if verb.examples:
        parts += ["", "Examples:", *(f"  {line}" for line in verb.examples)]
    if verb.notes:
        parts += ["", *verb.notes]
    parts += ["", "Options:", *render_flags([*verb.flags, *extra])]
    return "\n".join(parts) + "\n"


def render_flags(flags: Sequence[Flag]) -> list[str]:
    """One line a flag, aligned."""
    heads = [_flag_head(flag) for flag in flags]
    width = max(map(len, heads), default=0) + 3
    return [f"{head:<{width}}{_flag_tail(flag)}" for head, flag in zip(heads, flags, strict=True)]


def _flag_head(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    kind = {"bool": "", "text": " string", "list": " list", "int": " int"}[flag.kind]
    return f"  {short}--{flag.name}{kind}"


def _flag_tail(flag: Flag) -> str:
    choices = f" ({'|'.join(flag.choices)})" if flag.choices else ""
    default = f" (default {flag.default})" if flag.default else ""
    return flag.help + choices + default
