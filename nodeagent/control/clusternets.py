"""Networks of a cluster: made and removed in its store, known on every node, and their addresses.

The record is the same on all hosts and comes to each by the store; a host keeps a copy, so it goes
on with what it knows when the store does not answer.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from netdrivers.contract.options import ENCRYPTED, MULTICAST, VNI_MAX, is_on
from netdrivers.contract.specs import IPAddress
from nodeagent.cluster.mirror import believe
from nodeagent.control.cluster import Cluster
from nodeagent.control.parts import Parts
from nodeagent.errors import Busy, Conflict, Exhausted, Unavailable
from nodeagent.model.cluster import AddressClaim, EndpointRow
from nodeagent.model.network import NetworkRecord, SharedNetwork
from nodeagent.state.store import ABSENT, Delete, Put
from nodeagent.state.store import Conflict as Changed

FIRST_VNI: Final = 4097  # as Docker's; below are VLANs, which people take for them
TRIES: Final = 20  # against other managers that make networks at the same time


class ClusterNetworks:
    """The cluster's half of networks, and ``addresses.Claims``."""

    def __init__(self, parts: Parts, cluster: Cluster) -> None:
        self._parts = parts
        self._cluster = cluster

    # --- networks --------------------------------------------------------------------------------

    def known(self) -> dict[str, NetworkRecord]:
        """All networks of the cluster, as last heard."""
        return self._cluster.mirror("network/").decoded(NetworkRecord)

    async def create(self, record: NetworkRecord) -> NetworkRecord:
        """Enter a network into the store; the record with what it was given there.

        Raises:
            Refused: no cluster, or this is a worker. Conflict: the name is taken.
            Busy: others make networks all the time. Unavailable: the store does not answer.
        """
        self._cluster.admin()
        store = self._cluster.store
        for _ in range(TRIES):
            row = await store.get("allocation")
            rows = [msgspec.msgpack.decode(each.value, type=NetworkRecord)
                    for each in await store.read("network/")]  # fmt: skip
            self._check_free(record, rows)
            shared = SharedNetwork(
                vni=_free_vni(rows),
                sealed=is_on(record.options, ENCRYPTED, default=True),
                multicast=is_on(record.options, MULTICAST, default=False),
                port=self._cluster.ports.vxlan,
            )
            made = msgspec.structs.replace(record, shared=shared)
            try:
                await store.commit(
                    Put("allocation", b"", row.revision if row else ABSENT),
                    Put(f"network/{made.id}", msgspec.msgpack.encode(made), ABSENT),
                )
            except Changed:
                continue  # somebody else made one: look again at what is free
            return made
        raise Busy("others make networks all the time; try again", field="name")

    def _check_free(self, record: NetworkRecord, others: Iterable[NetworkRecord]) -> None:
        for each in others:
            if each.name == record.name:
                raise Conflict(
                    "the cluster has a network of this name", field="name", name=record.name
                )
            mine, theirs = ({s.subnet for s in one.subnets} for one in (record, each))
            if mine & theirs:
                raise Conflict(
                    "the subnet was just given to another network of the cluster; try again",
                    field="subnets",
                    network=each.name,
                )

    async def rm(self, record: NetworkRecord) -> None:
        """Take a network out of the store.

        Raises:
            Busy: it has endpoints somewhere; says on which nodes. Refused: this is a worker.
        """
        if self._cluster.own is None:
            return  # what is left of a cluster that this host is not of any more
        self._cluster.admin()
        store = self._cluster.store
        row = await store.get(f"network/{record.id}")
        holders = {each.node_id for each in (await self.claims(record.id)).values()}
        if holders:
            names = {id_: spec.name for id_, spec in self._cluster.specs().items()}
            where = ", ".join(sorted(names.get(each, each[:12]) for each in holders))
            raise Busy(
                f"network has containers on: {where}; disconnect them first",
                field="name",
                name=record.name,
            )
        if row is not None:
            await store.commit(Delete(f"network/{record.id}", row.revision))
        for each in [
            *await store.read(f"addr/{record.id}/"),
            *await store.read(f"ep/{record.id}/"),
        ]:
            await store.commit(Delete(each.key))  # few or none: what nobody could have meant

    async def sync(self) -> list[str]:
        """Let this host know the networks that the cluster knows; ids of those that are gone."""
        inventory = self._parts.inventory
        known = self.known()
        for id_, record in known.items():
            mine = inventory.networks.get(id_)
            if mine is None:
                await inventory.put(record)
                self._parts.events.publish("network", "create", id_, record.name)
        return [id_ for id_, each in inventory.networks.items() if each.shared and id_ not in known]

    # --- addresses -------------------------------------------------------------------------------

    async def claims(self, network_id: str) -> dict[str, AddressClaim]:
        """Who has which address. Unavailable: that cannot be known now."""
        prefix = f"addr/{network_id}/"
        rows = await self._cluster.store.read(prefix)
        found = {row.key.removeprefix(prefix): believe(row, AddressClaim) for row in rows}
        return {key: claim for key, claim in found.items() if claim and _address(key)}

    async def read(self, network_id: str) -> set[IPAddress]:
        """Addresses that somebody has. Unavailable: that cannot be known now."""
        await self.enter(network_id)
        prefix = f"addr/{network_id}/"
        rows = await self._cluster.store.read(prefix)
        found = [_address(row.key.removeprefix(prefix)) for row in rows]
        return {each for each in found if each is not None}

    async def take(self, network_id: str, address: IPAddress, owner: str) -> bool:
        """Claim an address for a container; False: another one was faster."""
        claim = AddressClaim(node_id=self._cluster.identity.node_id, container_id=owner)
        try:
            await self._cluster.store.commit(
                Put(f"addr/{network_id}/{address}", msgspec.msgpack.encode(claim), ABSENT)
            )
        except Changed:
            return False
        return True

    def has_entered(self, network_id: str) -> bool:
        """Whether this node has those rights in its role."""
        own = self._cluster.identity
        return own.role == "manager" or network_id in self._cluster.entered

    async def enter(self, network_id: str) -> None:
        """Have the rights that endpoints on a network need: a worker asks a manager."""
        if self.has_entered(network_id):
            return
        for remote in self._cluster.managers():
            await self._cluster.ask_manager(remote, "cluster.enter", {"network": network_id})
            self._cluster.entered.add(network_id)
            return
        raise Unavailable("no manager of the cluster is up, so no network can be entered")


def _address(text: str) -> IPAddress | None:
    """None for what a node has written that is no address."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _free_vni(networks: Iterable[NetworkRecord]) -> int:
    used = {each.shared.vni for each in networks if each.shared}
    vni = next(n for n in range(FIRST_VNI, FIRST_VNI + len(used) + 1) if n not in used)
    if vni > VNI_MAX:
        raise Exhausted("no network number (VNI) is left", most=VNI_MAX)
    return vni


def build_check(record: NetworkRecord) -> Callable[[object], bool]:
    """Whether an endpoint can be of a network: none has the gateway's address, or one outside."""
    subnets = [ip_network(each.subnet) for each in record.subnets]
    gateways = {ip_address(each.gateway) for each in record.subnets if each.gateway}

    def fits(row: object) -> bool:
        found = [ip_address(text) for text in row.addresses] if isinstance(row, EndpointRow) else []
        return all(
            each not in gateways and any(each in subnet for subnet in subnets) for each in found
        )

    return fits
