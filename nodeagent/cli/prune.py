"""Ask before much is removed, remove, and say what went."""

import sys
from typing import Final

from nodeagent.cli.call import Call, pick
from nodeagent.cli.grammar import switch
from nodeagent.cli.output import human_bytes, put

FORCE: Final = switch("force", "Do not ask", "f")


def prune(call: Call, method: str, what: str, heading: str, **params: object) -> int:
    """Remove all of a kind after a question; say what went and how much room it gave."""
    if not confirm(call, what):
        return 0
    freed = prune_kind(call, method, heading, **params)
    put(f"Total reclaimed space: {human_bytes(freed)}\n")
    return 0


def confirm(call: Call, what: str) -> bool:
    """Ask on standard error; anything but yes is no."""
    if call.values.is_on("force"):
        return True
    sys.stderr.write(f"WARNING! This will remove all {what}.\nAre you sure? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def prune_kind(call: Call, method: str, heading: str, **params: object) -> int:
    """Remove all of a kind, list them, and return the bytes it freed."""
    gone = call.row(method, **params)
    names, freed = pick(gone, "Deleted", list), pick(gone, "SpaceReclaimed", int)
    if names:
        put(heading + "\n" + "".join(f"{name}\n" for name in names) + "\n")
    return freed
