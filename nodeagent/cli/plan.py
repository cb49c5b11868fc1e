"""Plans: what a change would do to the kernel, printed instead of done."""

from typing import Final

from nodeagent.cli.call import Call, pick
from nodeagent.cli.grammar import UsageError, Verb, check_words, parse, switch
from nodeagent.cli.output import put

DRY_RUN: Final = switch("dry-run", "Only print what would change in the kernel")


def plans(call: Call) -> bool:
    """Whether the change is only to be planned."""
    return call.values.is_on("dry-run")


def print_plan(call: Call, **change: object) -> int:
    """Print the plan of one change, e.g. ``create={…}``; of a repair without any."""
    return print_ops(call, "network.plan", "nothing to change", **change)


def print_ops(call: Call, method: str, none: str, **params: object) -> int:
    """Make a call that answers kernel changes, and print them."""
    ops = pick(call.row(method, **params), "ops", list)
    put("\n".join(map(str, ops or [none])) + "\n")
    return 0


def plan_verb(call: Call, verbs: dict[str, Verb]) -> int:
    """``network plan VERB ARG...`` is ``VERB --dry-run ARG...``.

    Raises:
        UsageError: no such verb, or its own.
    """
    name, *rest = call.words
    verb = verbs.get(name)
    if verb is None:
        raise UsageError(f"network plan: {name!r} is not one of {', '.join(verbs)}")
    values, words = parse(verb.flags, ["--dry-run", *rest], options_first=verb.options_first)
    check_words(f"nodeagent network plan {name}", verb, words)
    return verb.run(call.with_words(values, words))
