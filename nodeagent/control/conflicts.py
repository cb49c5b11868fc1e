"""Routes and addresses that came to the host after a network, into its subnet.

The host then sends what is for the containers elsewhere, or what is for elsewhere to them. Not ours
to take away: told once, and shown as long as it is there.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterable, Mapping

from netdrivers.contract.specs import HostRoute
from nodeagent.control.desired import network_spec
from nodeagent.control.parts import Parts
from nodeagent.control.subnets import is_disguised
from nodeagent.model.network import NetworkRecord

log = logging.getLogger(__name__)


class Conflicts:
    """What was in the way at the last look."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._found: Mapping[str, list[str]] = {}

    def of(self, network_id: str) -> list[str]:
        """Routes that overlap the network, as text."""
        return list(self._found.get(network_id, ()))

    async def look(self) -> None:
        """Look at the host's routes, and tell of each (network, route) that is new."""
        routes = await self._parts.engine.host_routes()
        networks = self._parts.inventory.networks
        before, self._found = self._found, find_overlaps(networks.values(), routes)
        for id_, texts in self._found.items():
            for text in texts:
                if text not in before.get(id_, ()):
                    self._tell(networks[id_], text)
        for id_, texts in before.items():
            for text in set(texts) - set(self._found.get(id_, ())):
                log.info("network conflict is over", extra={"network": id_[:12], "route": text})

    def _tell(self, network: NetworkRecord, route: str) -> None:
        log.warning(
            "network conflict: a route of the host overlaps its subnet",
            extra={"network": network.name, "route": route},
        )
        self._parts.events.publish("network", "conflict", network.id, network.name, route=route)


def find_overlaps(
    networks: Iterable[NetworkRecord], routes: Iterable[HostRoute]
) -> dict[str, list[str]]:
    """Routes that overlap subnets of ours, by network id. Pure.

    A network on a wire has the wire's subnet, which the host may well be on. An address comes with
    several routes: the widest of a link is told of.
    """
    spans = sorted(
        (spec.subnet.version, int(spec.subnet[0]), int(spec.subnet[-1]), network.id)
        for network in networks
        if not network.on_wire and network.phase == "ready"
        for spec in network_spec(network).subnets
    )
    found: dict[str, dict[HostRoute, None]] = {}
    for route in sorted(routes, key=lambda each: each.to.prefixlen):
        if is_disguised(route.to):
            continue
        version, first, last = route.to.version, int(route.to[0]), int(route.to[-1])
        at = bisect_right(spans, (version, last, float("inf"), ""))
        # subnets of ours do not overlap each other, so the nearest before it ends last
        while at and spans[at - 1][0] == version and spans[at - 1][2] >= first:
            at -= 1
            told = found.setdefault(spans[at][3], {})
            if not any(route.link == wide.link and _covers(wide, route) for wide in told):
                told[route] = None
    return {id_: [str(route) for route in told] for id_, told in found.items()}


def _covers(wide: HostRoute, narrow: HostRoute) -> bool:
    same = wide.to.version == narrow.to.version
    return same and narrow.to[0] in wide.to and narrow.to[-1] in wide.to
