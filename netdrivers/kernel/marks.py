"""Marks of agents on the links and tables of a namespace: who else is, or was, here."""

from collections import Counter
from typing import Final

from netdrivers.kernel.access import DEFAULT_AGENT, Access
from netdrivers.kernel.inside import look_home

MARK: Final = "nodeagent:"
TABLE: Final = "table inet nodeagent"


def count_others(access: Access) -> dict[str, int]:
    """Links and tables of agents that we are not, by their ids."""
    found = Counter(
        agent_of_alias(link.alias)
        for link in look_home(access).links.values()
        if not access.object_id(link.alias)
    )
    tables = access.nft.run("list tables inet").splitlines()
    found.update(agent_of_table(line) for line in tables if line != f"table inet {access.table}")
    del found[""]
    return dict(found)


def agent_of_alias(alias: str) -> str:
    """The agent id in the alias of a link; "" if it bears no mark."""
    agent, colon, _ = alias.removeprefix(MARK).partition(":")
    return agent if alias.startswith(MARK) and colon else ""


def agent_of_table(line: str) -> str:
    """The agent id in a line of ``list tables``; "" if it is no agent's table."""
    rest = line.removeprefix(TABLE)
    if not line.startswith(TABLE):
        return ""
    return rest.removeprefix("-") if rest.startswith("-") else DEFAULT_AGENT * (not rest)
