"""The look-up table one sandbox sees: its zones in order of preference. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from netdrivers.contract.names import DnsHost, DnsTable, DnsView, DnsZone
from netdrivers.contract.specs import IPAddress

NO_VIEW: Final = DnsView(zones=())
EVERYONE: Final = "all."


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """An endpoint that bears a name, and the network it bears it on."""

    host: DnsHost
    zone: DnsZone


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Who bears a name, grouped by network, the preferred one first. ``everyone``: ready or not."""

    groups: Sequence[Sequence[Bearer]]
    everyone: bool = False

    @property
    def usable(self) -> Sequence[Sequence[Bearer]]:
        """Those to answer with; none = nobody is ready."""
        kept = [[each for each in group if self._takes(each)] for group in self.groups]
        return [group for group in kept if group]

    def _takes(self, bearer: Bearer) -> bool:
        return bearer.host.is_up and (self.everyone or bearer.host.is_ready)


class Records:
    """Names and addresses of one view; cheap to make, so it is made anew when the view changes."""

    def __init__(self, table: DnsTable, sandbox_id: str) -> None:
        self.view = table.views.get(sandbox_id, NO_VIEW)
        self._zones = tuple(table.zones[each] for each in self.view.zones if each in table.zones)

    def find(self, name: str) -> Match | None:
        """Who bears ``name`` (lower case); None = no such name.

        ``all.NAME`` is every endpoint of NAME, unless somebody is called so.
        """
        groups = self._find(name)
        if groups:
            return Match(groups=groups)
        groups = self._find(name.removeprefix(EVERYONE)) if name.startswith(EVERYONE) else []
        return Match(groups=groups, everyone=True) if groups else None

    def _find(self, name: str) -> Sequence[Sequence[Bearer]]:
        """A dotted name is first a whole name in any zone, then split, as Docker does.

        ``name.network`` is split at each dot from the right: container ``c1.net1`` on ``br.net1``
        answers to ``c1.net1`` and ``c1.net1.br.net1``.
        """
        for host, network in _splits(name):
            found = [
                [Bearer(host=each, zone=zone) for each in zone.names[host]]
                for zone in self._zones
                if host in zone.names and network in {"", zone.name.lower()}
            ]
            if found:
                return found
        return []

    def find_reverse(self, address: IPAddress) -> tuple[str, DnsZone] | None:
        """Name and network of an address of the view's networks."""
        for zone in self._zones:
            if name := zone.reverse.get(address):
                return name, zone
        return None


def differing(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    """Keys of what is not the same object in both."""
    return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    yield name, ""
    at = name.rfind(".")
    while at > 0:
        yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def parse_reverse(name: str) -> IPAddress | None:
    """The address a reverse name asks for; None if it is not a whole one."""
    for suffix, parse in ((".in-addr.arpa", _parse_v4), (".ip6.arpa", _parse_v6)):
        if name.endswith(suffix):
            return parse(name.removesuffix(suffix).split("."))
    return None


def _parse_v4(labels: Sequence[str]) -> IPv4Address | None:
    try:
        found = ip_address(".".join(reversed(labels)))
    except ValueError:
        return None
    return found if isinstance(found, IPv4Address) else None


def _parse_v6(labels: Sequence[str]) -> IPv6Address | None:
    digits = "".join(reversed(labels))
    if len(labels) != 32 or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return IPv6Address(int(digits, 16))
