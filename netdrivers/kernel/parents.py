"""Links that macvlans are to hang on: those that are not there, and those that bear none."""

from collections.abc import Iterable, Mapping
from typing import Final

from netdrivers.errors import Missing, Refused
from netdrivers.kernel.access import Access
from netdrivers.kernel.codec import LinkInfo
from netdrivers.plan.diff import State
from netdrivers.plan.objects import Macvlan, Parent

GONE: Final = "is not there"
STACKED: Final = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})
TAKERS: Final = frozenset({"bridge", "bond", "team", "openvswitch"})  # of all packets of a port
NAMED_MAX: Final = 16  # links that an error lists


def find_lacking(want: State, links: Mapping[str, LinkInfo]) -> dict[str, str]:
    """Links of the operator's that wanted objects hang on and cannot: why, by name."""
    lacking = {}
    for obj in want.values():
        if isinstance(obj, Parent) and obj.name in links:
            lacking[obj.name] = why_not(links[obj.name])
        elif isinstance(obj, Parent) and obj.kind != "dummy":
            lower = obj.lower or obj.name
            lacking[lower] = "" if lower in links else GONE
        elif isinstance(obj, Macvlan) and ("parent", obj.parent) not in want:
            known = links.get(obj.parent)
            lacking[obj.parent] = why_not(known) if known else GONE
    return {name: why for name, why in lacking.items() if why}


def why_not(link: LinkInfo) -> str:
    """What the kernel would refuse it for, or ""; a macvlan on another one lands on its parent."""
    if not link.ethernet:
        return "is no Ethernet link"
    if link.kind in STACKED:
        return f"is a {link.kind} itself; name the link below it"
    if link.port_of in TAKERS:
        return f"is a port of a {link.port_of}, which takes all its packets; name that"
    return ""


def find_usable(access: Access, links: Iterable[LinkInfo]) -> list[str]:
    """Names of links that could be parents, none of them of ours."""
    usable = (link.name for link in links if not why_not(link) and not access.object_id(link.alias))
    return sorted(usable)[:NAMED_MAX]


def parent_error(name: str, why: str, usable: Iterable[str] = ()) -> Missing | Refused:
    """The error for a network that cannot be, for its parent's sake."""
    leaf = Missing if why == GONE else Refused
    return leaf(
        f"the network's parent link {why}", option="parent", parent=name,
        there_is=" ".join(usable) or "nothing else",
    )  # fmt: skip
