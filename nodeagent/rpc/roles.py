"""Who may call what: the least role of each method. Pure.

``anyone`` has no certificate and asks to be admitted; ``reader`` looks, ``operator`` changes
containers, images, networks and volumes, ``admin`` does all; ``node`` is another agent.
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
# all others: who looks is a reader, who changes an operator
_NAMED: Final[Mapping[Role, frozenset[str]]] = {
    "node": frozenset({"cluster.enter", "cluster.goodbye"}),
    "anyone": frozenset({"cluster.authority", "cluster.admit"}),
    "admin": frozenset(
        {"cluster.init", "cluster.join", "cluster.leave", "cluster.token", "cluster.certificate",
         "node.update", "node.rm"}
    ),
}  # fmt: skip


def role_of(certified: Certified) -> Role:
    """What somebody may by the role in a certificate: managers and workers are nodes."""
    return "node" if certified in {"manager", "worker"} else _ROLES[certified]


def needed_role(method: Method) -> Role:
    """The least role that may call a method."""
    named = next((role for role, names in _NAMED.items() if method.name in names), None)
    return named or ("operator" if method.changes else "reader")


def may_call(role: Role, method: Method) -> bool:
    """Whether somebody of that role may call it. Nodes do what nodes do, and nothing else."""
    needed = needed_role(method)
    if needed == "node":
        return role in {"node", "admin"}
    return _RANK.get(role, 0) >= _RANK[needed]
