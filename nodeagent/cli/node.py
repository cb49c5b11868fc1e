"""``node ls inspect update rm``: the hosts of a cluster."""

from typing import Final

from nodeagent.cli.call import Call, parse_filters, parse_pairs
from nodeagent.cli.grammar import Verb, many, one, several, switch, text
from nodeagent.cli.output import FORMAT, LIST_FLAGS, print_list, print_objects, put, short_id

COLUMNS: Final = (
    ("ID", "Id"),
    ("HOSTNAME", "Hostname"),
    ("STATUS", "Status"),
    ("AVAILABILITY", "Availability"),
    ("ROLE", "Role"),
    ("ADDRESS", "Address"),
    ("VERSION", "EngineVersion"),
)


def _ls(call: Call) -> int:
    rows = call.rows("node.ls", filters=parse_filters(call.values.list("filter")))
    if not call.values.is_on("no-trunc"):
        rows = [row | {"Id": short_id(str(row["Id"])) + " *" * bool(row["IsSelf"])} for row in rows]
    return print_list(call, rows, COLUMNS, name="Id")


def _inspect(call: Call) -> int:
    print_objects(call.rows("node.inspect", names=call.words), call.values.text("format"))
    return 0


def _update(call: Call) -> int:
    values = call.values
    call.rpc(
        "node.update",
        name=call.words[0],
        labels=parse_pairs(values.list("label-add"), "label-add"),
        label_rm=values.list("label-rm"),
        availability=values.text("availability") or None,
    )
    put(f"{call.words[0]}\n")
    return 0


def _rm(call: Call) -> int:
    force = call.values.is_on("force")
    return call.for_each_word(lambda name: call.rpc("node.rm", name=name, force=force) and None)


VERBS: Final = (
    Verb(
        name="ls",
        help="List the nodes of the cluster",
        run=_ls,
        flags=LIST_FLAGS,
        examples=("nodeagent node ls", "nodeagent node ls --filter role=manager"),
        aliases=("list",),
    ),
    Verb(
        name="inspect",
        help="All about nodes",
        run=_inspect,
        flags=(FORMAT,),
        words=several("NODE"),
        examples=("nodeagent node inspect self", "nodeagent node inspect -f '{{.Status}}' web-1"),
    ),
    Verb(
        name="update",
        help="Change labels or availability of a node",
        run=_update,
        flags=(
            many("label-add", "Set a label, KEY=VALUE"),
            many("label-rm", "Take a label away"),
            text("availability", "active, pause or drain"),
        ),
        words=one("NODE"),
        examples=("nodeagent node update --label-add disk=ssd web-1",),
    ),
    Verb(
        name="rm",
        help="Remove nodes that are down",
        run=_rm,
        flags=(switch("force", "Also nodes that are up", "f"),),
        words=several("NODE"),
        examples=("nodeagent node rm web-3",),
        aliases=("remove",),
    ),
)
