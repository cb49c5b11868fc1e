"""``rpc describe``: the agent's methods, for those who write clients."""

from typing import Final

from nodeagent.cli.call import Call, pick
from nodeagent.cli.grammar import Verb
from nodeagent.cli.output import LIST_FORMAT, json_pretty, put, render_list

_COLUMNS: Final = (
    ("METHOD", "name"),
    ("CHANGES", "changes"),
    ("ROLE", "role"),
    ("WHAT IT DOES", "doc"),
)


def _describe(call: Call) -> int:
    description, format_ = call.row("rpc.describe"), call.values.text("format")
    if format_ == "json":
        put(json_pretty(description) + "\n")
    else:
        put(render_list(pick(description, "methods", list), _COLUMNS, format_))
    return 0


VERBS: Final = (
    Verb(
        name="describe",
        help="List the agent's RPC methods, with their schemas as JSON",
        run=_describe,
        flags=(LIST_FORMAT,),
        examples=("nodeagent rpc describe", "nodeagent rpc describe --format json"),
    ),
)
