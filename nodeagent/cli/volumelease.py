"""``volume lease ls|break``: who has which volume in the cluster."""

from typing import Final

from nodeagent.cli.call import Call, pick
from nodeagent.cli.grammar import UsageError, Verb, Words, switch
from nodeagent.cli.output import LIST_FLAGS, print_list, put

COLUMNS: Final = (
    ("VOLUME", "Volume"),
    ("NODE", "Node"),
    ("CONTAINER", "Container"),
    ("ACCESS", "Access"),
    ("EPOCH", "Epoch"),
    ("STATUS", "Status"),
)


def _lease(call: Call) -> int:
    verb, *words = call.words
    if verb == "ls" and not words:
        return print_list(call, call.rows("volume.leases"), COLUMNS, name="Volume")
    if verb != "break" or len(words) != 2:
        raise UsageError("volume lease ls, or volume lease break VOLUME NODE")
    volume, node = words
    done = call.row("volume.breaklease", name=volume, node=node, force=call.values.is_on("force"))
    for name in pick(done, "Holders", list):
        put(f"{name}\n")
    return 0


VERBS: Final = (
    Verb(
        name="lease",
        help="Who has which volume in the cluster; or take one from a node that is off",
        run=_lease,
        flags=(
            *LIST_FLAGS,
            switch("force", "break: also from a node that may still write"),
        ),
        words=Words(usage="ls | break VOLUME NODE", least=1, most=3),
        notes=(
            "A node that cannot renew its leases stops its own writers, then others may have the"
            " volume; nobody needs to break anything. Break one only of a node that is off.",
        ),
        examples=(
            "nodeagent volume lease ls",
            "nodeagent volume lease break db web-3",
        ),
    ),
)
