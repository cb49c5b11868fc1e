"""The table of all names, built anew only where something changed. Pure.

Records are never changed in place, so "the same object" means "as before": to look at a thousand
containers costs some 60 us, and only what a change touches is built again. What comes out equal
stays the same object too, by which the name server sees whose answers it may keep.
"""

from collections.abc import Collection, Mapping

from netdrivers.contract.names import DnsTable, DnsView, DnsZone
from nodeagent.control.desired import has_sandbox
from nodeagent.control.names import Member, build_view, build_zone
from nodeagent.model.container import ContainerRecord
from nodeagent.model.network import NetworkRecord


class Directory:
    """Whose names are answered, and the table made of that."""

    def __init__(self) -> None:
        self.table = DnsTable()
        self._members: dict[str, Member] = {}
        self._networks: dict[str, NetworkRecord] = {}
        self._upstreams: tuple[str, ...] = ()
        self._on: dict[str, dict[str, None]] = {}  # containers by network, in order of coming

    def update(
        self,
        networks: Mapping[str, NetworkRecord],
        records: Mapping[str, ContainerRecord],
        shown: Collection[str],
        unready: Collection[str],
        upstreams: tuple[str, ...],
    ) -> DnsTable:
        """The table for these networks and containers.

        Args:
            shown: containers that run; the names of the others are known, and lead nowhere.
            unready: of those, who is not to be used now.
        """
        touched = self._take_networks(networks)
        moved = self._take_records(records, shown, unready, touched)
        if upstreams != self._upstreams:
            self._upstreams = upstreams
            moved = set(self._members)
        moved |= {id_ for network in touched for id_ in self._on.get(network, ())}
        self.table = DnsTable(zones=self._zones(touched), views=self._views(moved))
        return self.table

    def _take_networks(self, networks: Mapping[str, NetworkRecord]) -> set[str]:
        """Remember the networks; those that are new, other or gone."""
        before = self._networks
        self._networks = dict(networks)
        gone = before.keys() - networks.keys()
        return gone | {id_ for id_, each in networks.items() if before.get(id_) is not each}

    def _take_records(
        self,
        records: Mapping[str, ContainerRecord],
        shown: Collection[str],
        unready: Collection[str],
        touched: set[str],
    ) -> set[str]:
        """Remember the containers, add their networks to ``touched``; who is new, other or gone."""
        moved = self._members.keys() - records.keys()
        for id_ in moved:
            touched |= self._place(id_, None)
        for id_, record in records.items():
            is_up, old = id_ in shown, self._members.get(id_)
            state = (is_up, is_up and id_ not in unready)
            if old is None or old.record is not record or (old.is_up, old.is_ready) != state:
                moved.add(id_)
                member = Member(record=record, is_up=is_up, is_ready=state[1])
                touched |= self._place(id_, member)
        return moved

    def _place(self, id_: str, member: Member | None) -> set[str]:
        """Put one container where it is now (None = nowhere); where it was or is."""
        old = self._members.pop(id_, None)
        before = set(old.record.endpoints) if old else set()
        after = set(member.record.endpoints) if member else set()
        if member:
            self._members[id_] = member
        for network in after - before:
            self._on.setdefault(network, {})[id_] = None
        for network in before - after:
            del self._on[network][id_]
            if not self._on[network]:
                del self._on[network]
        return before | after

    def _zones(self, touched: set[str]) -> dict[str, DnsZone]:
        zones = dict(self.table.zones)
        for id_ in touched:
            network = self._networks.get(id_)
            if network is None:
                zones.pop(id_, None)
                continue
            zone = build_zone(network, [self._members[each] for each in self._on.get(id_, ())])
            if zones.get(id_) != zone:
                zones[id_] = zone
        return zones

    def _views(self, moved: set[str]) -> dict[str, DnsView]:
        views = dict(self.table.views)
        for id_ in moved:
            member = self._members.get(id_)
            if member is None or not member.is_up or not has_sandbox(member.record):
                views.pop(id_, None)
                continue
            view = build_view(member.record, self._networks, self._upstreams)
            if views.get(id_) != view:
                views[id_] = view
        return views
