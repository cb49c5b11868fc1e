"""What changes without a notification: sysctls and the pins of sandboxes; looked at once a second.

The values that the last snapshot found are remembered with their way; one that is another now is a
reason to take a new one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from netdrivers.kernel.access import Access, Way
from netdrivers.kernel.sysctl import read_sysctl
from netdrivers.plan.objects import Sysctl

READS: Final = 400  # values a look, 3 ms; with more of them each has its turn later


def read_sysctls(access: Access, wanted: Iterable[Sysctl]) -> Iterator[Sysctl]:
    """The wanted sysctls as they are; what they are is remembered for the next look."""
    for ns, group in groupby(sorted(wanted, key=lambda obj: obj.ns), key=lambda obj: obj.ns):
        way = access.way(ns) or access.lost(ns)
        if way is None:
            continue
        todo = list(group)
        with access.namespaces.inside(way.fd):
            found = {obj.name: read_sysctl(obj.name) for obj in todo}
        way.sysctls.update(found)
        for obj in todo:
            value = found[obj.name]
            if value is None and obj.optional and not _is_known(obj):
                value = obj.value
            if value is not None:
                yield replace(obj, value=value)


def _is_known(obj: Sysctl) -> bool:
    """Whether this kernel has the setting for any link."""
    return read_sysctl(obj.name.replace(f".{obj.link}.", ".all.")) is not None


@dataclass(slots=True)
class Quiet:
    """Goes round what is remembered."""

    access: Access
    _after: tuple[str, str] = ("", "")

    def look(self) -> bool:
        """Whether something is another than remembered. Blocks for milliseconds."""
        ways = self.access.opened()
        moved = (name for name in ways if name and not self.access.is_pinned(name))
        changed = [self._is_changed(ways[ns], names) for ns, names in self._turn(ways)]
        return any(changed) or any(moved)

    def _turn(self, ways: dict[str, Way]) -> list[tuple[str, list[str]]]:
        """Whose turn it is: names by namespace."""
        known = sorted((ns, name) for ns, way in ways.items() for name in way.sysctls)
        later = [item for item in known if item > self._after]
        turn = (later + known[: len(known) - len(later)])[:READS]
        self._after = turn[-1] if turn else ("", "")
        turn.sort()
        return [
            (ns, [name for _, name in group])
            for ns, group in groupby(turn, key=lambda item: item[0])
        ]

    def _is_changed(self, way: Way, names: list[str]) -> bool:
        with self.access.namespaces.inside(way.fd):
            now = {name: read_sysctl(name) for name in names}
        changed = any(way.sysctls[name] != value for name, value in now.items())
        # said once; what is no more needs no further look
        way.sysctls.update(now)
        for name in [name for name, value in now.items() if value is None]:
            del way.sysctls[name]
        return changed
