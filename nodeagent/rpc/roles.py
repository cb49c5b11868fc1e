"""Who may call what: the least role of each method. Pure.

``anyone`` has no certificate and asks to be admitted; ``reader`` looks, ``operator`` changes
containers, images, networks and volumes and sees what is inside them, ``admin`` does all;
``node`` is another agent. A method that is not named here is for admins only.
"""

from collections.abc import Mapping
from typing import Final, Literal

from nodeagent.rpc.schema.shapes import Method

Role = Literal["anyone", "reader", "operator", "admin", "node"]
Certified = Literal["manager", "worker", "admin", "operator", "reader"]
_ROLES: Final[Mapping[str, Role]] = {
    "admin": "admin", "operator": "operator", "reader": "reader",
}  # fmt: skip
_RANK: Final[Mapping[str, int]] = {"anyone": 0, "reader": 1, "operator": 2, "admin": 3}

# noun -> verbs
_READER: Final = {
    "container": "wait ls inspect top logs stats",
    "image": "tags ls inspect history",
    "network": "ls inspect plan check audit",
    "port": "ls",
    "volume": "ls inspect leases",
    "cluster": "info rotation",
    "node": "ls inspect",
    "system": "info version df events ping",
    "rpc": "describe",
}
# also what only reads: files of containers and volumes, packets sent in a container's name
_OPERATOR: Final = {
    "container": "create start stop kill restart pause unpause rm rename update prune attach exec"
    " stat pack unpack export diff commit",
    "image": "pull import load save push tag rm prune login",
    "network": "create rm connect disconnect prune repair explain",
    "volume": "create rm prune update rename snapshot clone backup restore import export",
}
_ADMIN: Final = {
    "cluster": "init join leave token certificate renew backup restore recover rotate",
    "system": "audit",
    "volume": "breaklease",
    "node": "update promote demote rm",
}
_TABLES: Final[Mapping[Role, Mapping[str, str]]] = {
    "anyone": {"cluster": "authority admit"},
    "reader": _READER,
    "operator": _OPERATOR,
    "admin": _ADMIN,
    "node": {"cluster": "enter sign goodbye standing"},
}
_LEAST: Final[Mapping[str, Role]] = {
    f"{noun}.{verb}": role
    for role, table in _TABLES.items()
    for noun, verbs in table.items()
    for verb in verbs.split()
}
NAMED: Final = frozenset(_LEAST)


def role_of(certified: Certified) -> Role:
    """What somebody may by the role in a certificate: managers and workers are nodes."""
    return "node" if certified in {"manager", "worker"} else _ROLES[certified]


def needed_role(method: Method) -> Role:
    """The least role that may call a method."""
    return _LEAST.get(method.name, "admin")


def may_call(role: Role, method: Method) -> bool:
    """Whether somebody of that role may call it. Nodes do what nodes do, and nothing else."""
    needed = needed_role(method)
    if needed == "node":
        return role in {"node", "admin"}
    return _RANK.get(role, 0) >= _RANK[needed]
