"""Volumes: create, list, remove and the like."""

import sys
from typing import Final

from nodeagent.cli.call import Call, parse_filters, parse_pairs
from nodeagent.cli.grammar import Flag, Verb, Words, many, several, switch, text
from nodeagent.cli.objects import inspect_verb
from nodeagent.cli.output import LIST_FLAGS, print_list, put
from nodeagent.cli.prune import FORCE, prune
from nodeagent.cli.volumecopies import SHARING

COLUMNS: Final = (("DRIVER", "Driver"), ("VOLUME NAME", "Name"), ("STATUS", "Status"))


def _create(call: Call) -> int:
    made = call.row(
        "volume.create",
        name=call.words[0] if call.words else "",
        driver=call.values.text("driver"),
        labels=parse_pairs(call.values.list("label"), "label"),
        options=parse_pairs(call.values.list("opt"), "opt"),
        sharing=call.values.text("sharing"),
        shared=call.values.is_on("shared"),
        on_lease_loss=call.values.text("on-lease-loss"),
    )
    put(f"{made['Name']}\n")
    return 0


def _ls(call: Call) -> int:
    rows = call.rows(
        "volume.ls",
        all=call.values.is_on("all"),
        filters=parse_filters(call.values.list("filter")),
    )
    return print_list(call, rows, COLUMNS, name="Name")


def _rm(call: Call) -> int:
    def remove(name: str) -> None:
        done = call.row(
            "volume.rm",
            name=name,
            force=call.values.is_on("force"),
            now=call.values.is_on("now"),
        )
        if kept := done["Name"]:
            sys.stderr.write(f"{name} is kept for a while as {kept}; volume restore undoes this\n")

    return call.for_each_word(remove)


def _prune(call: Call) -> int:
    every, expired = call.values.is_on("all"), call.values.is_on("expired")
    if expired:
        what = "removed volumes whose time has come"
        return prune(call, "volume.prune", what, "Deleted Volumes:", expired=True)
    what = "volumes that no container uses" if every else "anonymous volumes nobody uses"
    return prune(
        call, "volume.prune", what, "Deleted Volumes:", all=every, now=call.values.is_on("now")
    )


VERBS: Final = (
    Verb(
        name="create",
        help="Create a volume",
        run=_create,
        flags=(
            text("driver", "Driver", "d", "local"),
            many("label", "Set metadata KEY=VALUE"),
            many("opt", "Option of the driver: KEY=VALUE", "o"),
            Flag(name="sharing", help="Who may use it at once", default="all", choices=SHARING),
            switch("shared", "On each host of the cluster the name means the same bytes"),
            Flag(
                name="on-lease-loss",
                help="To containers, if the node cannot keep its lease",
                default="stop",
                choices=("pause", "stop", "kill"),
            ),
        ),
        words=Words(usage="[VOLUME]", most=1),
        examples=(
            "nodeagent volume create data",
            "nodeagent volume create --driver image --opt size=10g --sharing onewriter db",
            "nodeagent volume create --opt o=bind --opt device=/san/db --shared --sharing none db",
            "nodeagent volume create --opt type=nfs --opt o=addr=files,rw --opt device=:/data x",
        ),
    ),
    Verb(
        name="ls",
        help="List volumes",
        run=_ls,
        flags=(*LIST_FLAGS, switch("all", "Also snapshots and removed volumes", "a")),
        aliases=("list",),
        examples=("nodeagent volume ls -q --filter dangling=true",),
    ),
    Verb(
        name="rm",
        help="Remove volumes that nobody uses",
        run=_rm,
        flags=(
            switch("force", "No error if there is none of that name", "f"),
            switch("now", "Keep nothing: the data is gone at once"),
        ),
        notes=("A volume with a name is kept for a while (volume.retention_s of the config).",),
        words=several("VOLUME", "volume"),
        aliases=("remove",),
        examples=("nodeagent volume rm data",),
    ),
    inspect_verb("volume", "VOLUME"),
    Verb(
        name="prune",
        help="Remove anonymous volumes nobody uses, or all of them",
        run=_prune,
        flags=(
            switch("all", "Also those with a name", "a"),
            switch("now", "Keep nothing of those with a name"),
            switch("expired", "Only removed volumes whose time has come"),
            FORCE,
        ),
        examples=("nodeagent volume prune -f",),
    ),
)
