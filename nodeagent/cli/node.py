"""``node ls inspect update promote demote rm``: the hosts of a cluster."""

import sys
from collections.abc import Callable
from typing import Final

from nodeagent.cli.call import Call, parse_filters, parse_pairs, pick
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


def _change_role(verb: str) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        warnings: list[str] = []

        def change(name: str) -> None:
            warnings[:] = pick(call.row(f"node.{verb}", name=name), "warnings", list)

        status = call.for_each_word(change)
        for each in warnings:  # of the last one: they are of all managers
            print(f"warning: {each}", file=sys.stderr)
        return status

    return run


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
        name="promote",
        help="Make workers managers: each keeps a copy of the cluster's state",
        run=_change_role("promote"),
        words=several("NODE"),
        notes=(
            "The node follows by itself, when it is up. It needs etcd-server.",
            "3 or 5 managers are advised: more than half of them must be up for changes.",
        ),
        examples=("nodeagent node promote web-2 web-3",),
    ),
    Verb(
        name="demote",
        help="Make managers workers",
        run=_change_role("demote"),
        words=several("NODE"),
        notes=(
            "A manager has known the cluster's secrets. If it is not trusted any more, remove it, "
            "then `cluster ca rotate`, and `cluster token --rotate` for both roles.",
        ),
        examples=("nodeagent node demote web-2",),
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
