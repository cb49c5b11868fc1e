"""Our nft table as it is: whether its rules are whole, and the elements of its sets and maps.

All of it is remembered for as long as the ruleset's generation is the same: the kernel counts every
transaction of a namespace, whoever made it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from netdrivers.errors import Refused
from netdrivers.kernel import nfcodec
from netdrivers.kernel.access import Access
from netdrivers.kernel.netlink import Reply
from netdrivers.kernel.stamp import build_stamp, operator_rules
from netdrivers.plan.objects import Element


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """The table at one moment."""

    is_there: bool
    is_whole: bool  # its rules are those it was made with
    is_used: bool  # the operator has rules in it
    elements: tuple[Element, ...]


def read_table(access: Access) -> TableFacts:
    """All about the table."""
    generation = read_generation(access)
    if access.table_memory is not None and access.table_memory[0] == generation:
        known = access.table_memory[1]
        if isinstance(known, TableFacts):
            return known
    text = list_table(access)
    facts = TableFacts(
        is_there=bool(text),
        is_whole=bool(text) and has_chain(access, build_stamp(text)),
        is_used=operator_rules(text),
        elements=tuple(dump_elements(access)),
    )
    # a change in the midst of reading is of the next generation
    access.table_memory = (generation, facts)
    return facts


def read_generation(access: Access) -> int:
    """The number that grows with every change of the ruleset."""
    (reply,) = access.host.filter.ask([nfcodec.get_generation()])
    if not reply.messages:
        raise Refused("read the ruleset's generation", errno=reply.errno, reason=reply.text)
    return nfcodec.parse_generation(reply.messages[0][1])


def dump_elements(access: Access) -> Iterator[Element]:
    """All elements of our table."""
    for name in nfcodec.LAYOUT:
        for body in _dump_set(access, name):
            yield from nfcodec.parse_elements(body)


def find_elements(access: Access, elements: Iterable[Element]) -> Iterator[Element]:
    """Those of the elements whose key is there, with the value it has."""
    by_key = {element.key: element for element in elements}
    requests = [nfcodec.get_element(access.table, item) for item in by_key.values()]
    for reply in access.host.filter.ask(requests):
        for _, body in reply.messages:
            yield from nfcodec.parse_elements(body)


def _dump_set(access: Access, name: str) -> Sequence[bytes]:
    try:
        messages = access.host.filter.dump(nfcodec.dump_elements(access.table, name))
    except Refused:  # no such set: the table is not there, or somebody took it apart
        return []
    return [body for _, body in messages]


def list_table(access: Access) -> str:
    """The table's text without elements; "" when there is none."""
    if not _any(access.host.filter.ask([nfcodec.get_table(access.table)])):
        return ""
    return access.nft.run(f"list table inet {access.table}")


def has_chain(access: Access, name: str) -> bool:
    """Whether the table has a chain of this name."""
    return _any(access.host.filter.ask([nfcodec.get_chain(access.table, name)]))


def _any(replies: Iterable[Reply]) -> bool:
    return any(reply.messages and not reply.errno for reply in replies)
