"""The redirect of port 53: what is packed is read back and compared."""

import pytest

from netdrivers.kernel import dnsredirect


def rules(port: int) -> list:
    """As the kernel would tell of them, with an attribute more in each expression."""
    there = [dnsredirect.parse_rule(each.body) for each in dnsredirect.add(port)[2:]]
    return [[(name, {**values, 99: b"more"}) for name, values in rule] for rule in there]


@pytest.mark.parametrize("port", [1, 5300, 65535])
def test_it_says_its_port_in_its_comment(port):
    table, *rest = dnsredirect.add(port)
    assert dnsredirect.parse_port(table.body) == port
    assert len(rest) == 5


def test_a_table_without_a_comment_has_no_port():
    assert dnsredirect.parse_port(dnsredirect.get_table().body) == 0


def test_rules_as_made_are_whole():
    assert dnsredirect.is_whole(rules(5300), 5300)


@pytest.mark.parametrize(
    "there",
    [
        [],
        rules(5300)[:1],
        rules(5300)[::-1],
        rules(5301),
        [*rules(5300), rules(5300)[0]],
        [rules(5300)[0][:-1], *rules(5300)[1:]],
        [*rules(5300)[:-1], [("counter", {}), *rules(5300)[-1]]],
    ],
    ids=["none", "one", "turned", "other port", "one more", "cut", "longer"],
)
def test_anything_else_is_not(there):
    assert not dnsredirect.is_whole(there, 5300)
