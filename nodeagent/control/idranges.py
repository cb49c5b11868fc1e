"""Which ids of the host a container with a user namespace of its own has: nobody else's.

They are of no user in /etc/subuid and of no other container; where the search begins follows from
the agent, so that two agents on one host rarely meet.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from nodeagent.control.held import Held
from nodeagent.control.parts import Parts
from nodeagent.errors import Exhausted
from nodeagent.model.container import IdRangeRecord

COUNT: Final = 65536  # as many as an image may name
FIRST, LAST = 0x0008_0000, 0x6FFF_0000  # what systemd leaves to containers
SLICES: Final = (LAST - FIRST) // COUNT
FILES: Final = (Path("/etc/subuid"), Path("/etc/subgid"))


def hold_ids(parts: Parts, held: Held) -> IdRangeRecord:
    """A free range; nobody else gets it while ``held`` is (Exhausted)."""
    containers = parts.inventory.containers.values()
    used = {each.ids.first for each in containers if each.ids is not None}
    texts = [path.read_text("utf-8", "replace") for path in FILES if path.exists()]
    foreign = [span for text in texts for span in parse_subids(text)]
    for first in candidates(parts.settings.agent_id, foreign):
        key = ("ids", str(first))
        if first not in used and not parts.inventory.is_reserved(*key):
            held.enter_context(parts.inventory.reserve(*key))
            return IdRangeRecord(first=first, count=COUNT)
    raise Exhausted("no range of user ids is free for another container", field="userns_mode")


def candidates(agent_id: str, foreign: Collection[range]) -> Iterator[int]:
    """First ids of ranges that are no user's, in the order in which they are tried. Pure."""
    start = int.from_bytes(agent_id.encode(), "big") % SLICES
    for n in range(SLICES):
        first = FIRST + (start + n) % SLICES * COUNT
        if not any(first < each.stop and each.start < first + COUNT for each in foreign):
            yield first


def parse_subids(text: str) -> Iterable[range]:
    """``name:first:count`` lines; what is none is none. Pure."""
    for line in text.splitlines():
        _, first, count, *_ = (*line.split(":"), "", "", "")
        if first.strip().isdecimal() and count.strip().isdecimal():
            yield range(int(first), int(first) + int(count))
