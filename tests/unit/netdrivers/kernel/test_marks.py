"""Whose mark a link or a table bears."""

import pytest

from netdrivers.kernel.marks import agent_of_alias, agent_of_table


@pytest.mark.parametrize(
    ("alias", "agent"),
    [("nodeagent:east:0a", "east"), ("nodeagent:x", ""), ("uplink", ""), ("", "")],
)
def test_links(alias, agent):
    assert agent_of_alias(alias) == agent


@pytest.mark.parametrize(
    ("line", "agent"),
    [
        ("table inet nodeagent", "default"),
        ("table inet nodeagent-east", "east"),
        ("table inet nodeagents", ""),
        ("table inet filter", ""),
        ("table ip nodeagent", ""),
    ],
)
def test_tables(line, agent):
    assert agent_of_table(line) == agent
