"""``inspect``: all about objects, by name or id, of a known or of any kind."""

from collections.abc import Sequence
from typing import Final

from nodeagent.cli.call import Call, Row, go_on
from nodeagent.cli.grammar import Flag, Verb, several, switch
from nodeagent.cli.output import FORMAT, print_objects

_SIZE: Final = switch("size", "Also what a container takes on disk", "s")
NOUNS: Final = ("container", "image", "network", "volume")


def inspect(call: Call, nouns: Sequence[str]) -> int:
    """Print those that are there as an array, complain about the others."""
    found: list[Row] = []
    code = go_on(call.words, lambda name: found.append(_find(call, name, nouns)))
    print_objects(found, call.values.text("format"))
    return code


def _find(call: Call, name: str, nouns: Sequence[str]) -> Row:
    """Ask for one kind after the other.

    Raises:
        RpcError: it is none of them.
    """
    from nodeagent.rpc.errors import RpcError

    for noun in nouns:
        try:
            sized = {"size": True} if noun == "container" and call.values.is_on("size") else {}
            return call.rows(f"{noun}.inspect", names=[name], **sized)[0]
        except RpcError as exc:
            if exc.kind != "missing" or len(nouns) == 1:
                raise
    raise RpcError("missing", f"no {', '.join(nouns[:-1])} or {nouns[-1]} is called {name!r}")


def inspect_verb(noun: str, usage: str) -> Verb:
    """Make the ``inspect`` of a noun."""
    return Verb(
        name="inspect",
        help=f"Show all about {noun}s, as a JSON array",
        run=lambda call: inspect(call, (noun,)),
        flags=(FORMAT, _SIZE) if noun == "container" else (FORMAT,),
        words=several(usage, noun),
        examples=(f"nodeagent {noun} inspect NAME", f"nodeagent {noun} inspect -f json A B"),
    )


def _inspect_any(call: Call) -> int:
    kind = call.values.text("type")
    return inspect(call, (kind,) if kind else NOUNS)


VERBS: Final = (
    Verb(
        name="inspect",
        help="Show all about containers, images, networks or volumes, as a JSON array",
        run=_inspect_any,
        flags=(FORMAT, _SIZE, Flag(name="type", help="Look only for this kind", choices=NOUNS)),
        words=several("NAME", "any"),
        examples=(
            "nodeagent inspect web",
            "nodeagent inspect -f '{{.State.Pid}}' web",
            "nodeagent inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web",
        ),
    ),
)
