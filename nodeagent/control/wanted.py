"""All that the kernel should hold, for many looks: only what changed is built anew. Pure."""

from collections.abc import Iterable, Mapping

from netdrivers.contract.specs import Desired, EndpointSpec, NetworkSpec, SandboxSpec
from nodeagent.control.desired import build_desired
from nodeagent.model.container import ContainerRecord
from nodeagent.model.network import NetworkRecord

_Records = tuple[ContainerRecord | NetworkRecord, ...]


class Wanted:
    """Remembers what records mean: none is ever changed in place."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Records, Desired]] = {}

    def build(
        self, networks: Mapping[str, NetworkRecord], live: Iterable[ContainerRecord]
    ) -> Desired:
        """What ``build_desired`` gives, and the same specs as before where nothing changed."""
        nets: dict[str, NetworkSpec] = {}
        sandboxes: dict[str, SandboxSpec] = {}
        endpoints: dict[str, EndpointSpec] = {}
        known: dict[str, tuple[_Records, Desired]] = {}
        for id_, network in networks.items():
            part = known[f"network {id_}"] = self._part(f"network {id_}", (network,))
            nets.update(part[1].networks)
        for record in live:
            own = (networks[id_] for id_ in record.endpoints if id_ in networks)
            part = known[record.id] = self._part(record.id, (record, *own))
            sandboxes.update(part[1].sandboxes)
            endpoints.update(part[1].endpoints)
        self._known = known
        return Desired(networks=nets, sandboxes=sandboxes, endpoints=endpoints)

    def _part(self, id_: str, records: _Records) -> tuple[_Records, Desired]:
        before = self._known.get(id_)
        if before is not None and _are_same(before[0], records):
            return before
        networks = {each.id: each for each in records if isinstance(each, NetworkRecord)}
        live = [each for each in records if isinstance(each, ContainerRecord)]
        return (records, build_desired(networks, live))


def _are_same(before: _Records, now: _Records) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))
