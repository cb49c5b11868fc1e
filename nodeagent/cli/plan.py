"""Plans: what a change would do to the kernel, printed instead of done."""

from collections.abc import Sequence
from typing import Final

from nodeagent.cli.call import Call, Row, pick
from nodeagent.cli.grammar import UsageError, Verb, check_words, parse, switch, text
from nodeagent.cli.output import print_object

FORMAT: Final = text("format", "Output: json or TEMPLATE, instead of lines for people")
PLAN_FLAGS: Final = (
    switch("dry-run", "Only print what would change in the kernel"),
    text("format", f"With --dry-run: {FORMAT.help}"),
)


def plans(call: Call) -> bool:
    """Whether the change is only to be planned."""
    return call.values.is_on("dry-run")


def print_plan(call: Call, **change: object) -> int:
    """Print the plan of one change, e.g. ``create={…}``; of a repair without any."""
    plan = call.row("network.plan", **change)
    ops = pick(plan, "ops", list)
    return print_lines(call, plan, ops, "nothing to change")


def print_lines(call: Call, found: Row, lines: Sequence[object], none: str) -> int:
    """Print what was found as its lines, or ``none``, or in the way of ``--format``."""
    people = "\n".join(map(str, lines or [none])) + "\n"
    return print_object(found, call.values.text("format"), lambda: people)


def plan_verb(call: Call, verbs: dict[str, Verb]) -> int:
    """``network plan VERB ARG...`` is ``VERB --dry-run ARG...``.

    Raises:
        UsageError: no such verb, or its own.
    """
    name, *rest = call.words
    verb = verbs.get(name)
    if verb is None:
        raise UsageError(f"network plan: {name!r} is not one of {', '.join(verbs)}")
    first = ["--dry-run", f"--format={call.values.text('format')}"]
    values, words = parse(verb.flags, [*first, *rest], options_first=verb.options_first)
    check_words(f"nodeagent network plan {name}", verb, words)
    return verb.run(call.with_words(values, words))
