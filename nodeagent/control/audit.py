"""What is ours and nobody's: in the kernel, among leases, held ports and sockets of names."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from typing import Final

import trio

from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op
from nodeagent.control.addresses import Addresses, Lease
from nodeagent.control.parts import Parts
from nodeagent.control.repair import Repairer, kind
from nodeagent.control.sandboxes import Sandboxes
from nodeagent.model.container import ContainerRecord
from nodeagent.model.drift import AuditResult, LeakRow
from nodeagent.model.network import NetworkRecord

SETTLED_S: Final = 0.5  # what is there for a shorter time is of a container that starts or ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """All that is held at one moment."""

    unwanted: Sequence[Op]  # what a repair of the kernel would do
    leases: Iterable[Lease]  # of no record
    ports: Mapping[str, int]  # held host ports by container
    names: Collection[str]  # containers whose name server has sockets
    live: Collection[str]  # containers that should have all that


def find_leaks(
    held: Holdings,
    containers: Mapping[str, ContainerRecord],
    networks: Mapping[str, NetworkRecord],
) -> list[LeakRow]:
    """What has no owner. Pure."""
    return [
        *_in_kernel(held.unwanted, containers, networks),
        *_leases(held.leases, networks),
        *_addresses(containers.values(), networks),
        *(
            LeakRow(kind="port", what=f"{count} held ports", why=f"container {_say(id_)} is down")
            for id_, count in held.ports.items()
            if count and id_ not in held.live
        ),
        *(
            LeakRow(kind="names", what=f"sockets in {_say(id_)}", why="the container is down")
            for id_ in held.names
            if id_ not in held.live
        ),
    ]


def _in_kernel(
    ops: Iterable[Op],
    containers: Mapping[str, ContainerRecord],
    networks: Mapping[str, NetworkRecord],
) -> Iterator[LeakRow]:
    for op in ops:
        if op.verb == "delete":
            owner = op.obj.owner
            known = owner in containers or owner in networks
            why = f"{_say(owner)} does not want it" if known else f"no such owner: {_say(owner)}"
            yield LeakRow(kind=kind(op), what=render_op(op).removeprefix("- "), why=why)


def _leases(leases: Iterable[Lease], networks: Mapping[str, NetworkRecord]) -> Iterator[LeakRow]:
    for each in leases:
        name = networks[each.network_id].name if each.network_id in networks else each.network_id
        what = f"{each.address} on {name}"
        yield LeakRow(kind="lease", what=what, why=f"no container {_say(each.owner)}")


def _addresses(
    containers: Iterable[ContainerRecord], networks: Mapping[str, NetworkRecord]
) -> Iterator[LeakRow]:
    """Addresses in records: of a network that is gone, of none of its subnets, given out twice."""
    seen: dict[tuple[str, str], str] = {}
    for record in containers:
        for id_, endpoint in record.endpoints.items():
            network = networks.get(id_)
            nets = [ip_network(each.subnet) for each in network.subnets] if network else []
            for text in endpoint.addresses:
                ip = ip_interface(text).ip
                other = seen.setdefault((id_, str(ip)), record.name)
                why = ""
                if network is None:
                    why = f"no network {_say(id_)}"
                elif not any(ip in net for net in nets):
                    why = f"in no subnet of {network.name}"
                elif other != record.name:
                    why = f"{other} has it, too"
                if why:
                    yield LeakRow(kind="lease", what=f"{ip} of {record.name}", why=why)


def _say(id_: str) -> str:
    return id_[:12] or "(none)"


class Auditor:
    """Use case ``network audit``, and the counts of the metric."""

    def __init__(
        self, parts: Parts, sandboxes: Sandboxes, addresses: Addresses, repairer: Repairer
    ) -> None:
        self._parts = parts
        self._sandboxes = sandboxes
        self._addresses = addresses
        self._repairer = repairer
        self._before: set[LeakRow] = set()  # at the last count

    async def audit(self) -> AuditResult:
        """Look at everything now."""
        drift = await self._repairer.check()
        first = self._find(drift.ops)
        await trio.sleep(SETTLED_S)
        again = set(self._find(drift.ops))
        others = await self._parts.engine.others()
        return AuditResult(leaks=[each for each in first if each in again], others=dict(others))

    def count(self) -> dict[str, int]:
        """Leaks by kind; of the kernel those that the last look of the repair loop left."""
        now = set(self._find(self._repairer.left))
        lasting, self._before = now & self._before, now
        return dict(Counter(leak.kind for leak in lasting))

    def _find(self, ops: Sequence[Op]) -> list[LeakRow]:
        inventory = self._parts.inventory
        held = Holdings(
            unwanted=ops,
            leases=self._addresses.unowned(inventory.containers),
            ports=self._sandboxes.ports.held(),
            names=self._parts.names.served(),
            live=self._sandboxes.live(),
        )
        return find_leaks(held, inventory.containers, inventory.networks)
