"""The look-up table one sandbox sees: its zones in order of preference. Pure."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from netdrivers.contract import DnsTable, DnsView, DnsZone, IPAddress

NO_VIEW = DnsView(zones=())


class Records:
    """Names and addresses of one view; cheap to make, so it is made anew at each table swap."""

    def __init__(self, table: DnsTable, sandbox_id: str) -> None:
        self.view = table.views.get(sandbox_id, NO_VIEW)
        self._zones = [table.zones[each] for each in self.view.zones if each in table.zones]

    def find(self, name: str) -> Sequence[tuple[IPAddress, ...]] | None:
        """Addresses of ``name`` (lower case), grouped by zone in order; None = no such name.

        A dotted name is first a whole name in any zone, then ``name.network`` split at each dot
        from the right, as Docker does: container ``c1.net1`` on ``br.net1`` answers to
        ``c1.net1`` and ``c1.net1.br.net1``.
        """
        for host, network in _splits(name):
            found = [
                zone.names[host]
                for zone in self._zones
                if host in zone.names and network in {"", zone.name.lower()}
            ]
            if found:
                return found
        return None

    def find_reverse(self, address: IPAddress) -> str | None:
        """``name.network`` of an address of the view's networks."""
        for zone in self._zones:
            if name := zone.reverse.get(address):
                return _qualified(name, zone)
        return None


def _qualified(name: str, zone: DnsZone) -> str:
    return f"{name}.{zone.name}"


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
