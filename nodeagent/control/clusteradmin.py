"""What managers do for a cluster: admit and remove nodes, change their roles, sign certificates."""

import msgspec

from nodeagent.cluster import ca
from nodeagent.cluster.etcd.client import EtcdClient
from nodeagent.cluster.etcdstore import EtcdStore
from nodeagent.cluster.mirror import believe
from nodeagent.cluster.tokens import Token, hash_secret, role_of
from nodeagent.control.creation import check_name
from nodeagent.control.founding import Pems, new_secret
from nodeagent.control.hostaddress import parse_address
from nodeagent.control.parts import Parts
from nodeagent.control.storerights import StoreRights
from nodeagent.control.times import build_time
from nodeagent.errors import Invalid, Missing, Refused
from nodeagent.model.cluster import (
    AddressClaim,
    CertRequest,
    CertView,
    ClusterAdmit,
    ClusterAdmitted,
    ClusterSelf,
    NodeRole,
    NodeSelf,
    NodeSpec,
    NodeUpdate,
    TokenRequest,
)
from nodeagent.state.store import ABSENT, Delete, Put, Row


class ClusterAdmin:
    """With the rights of a manager."""

    def __init__(
        self, parts: Parts, store: EtcdStore, client: EtcdClient, own: ClusterSelf
    ) -> None:
        self._parts = parts
        self._store = store
        self._client = client
        self._rights = StoreRights(client)
        self._own = own

    # --- nodes -----------------------------------------------------------------------------------

    async def authority(self) -> ca.Pair:
        """The cluster's, with its key."""
        row = await self._row("secret/ca")
        pems = msgspec.msgpack.decode(row.value, type=Pems)
        return ca.Pair(certificate=pems.certificate, key=pems.key)

    async def _row(self, key: str) -> Row:
        row = await self._store.get(key)
        if row is None:
            raise Missing("the cluster's store lacks a row", key=key)
        return row

    async def admit(self, asked: ClusterAdmit, managers: list[str]) -> ClusterAdmitted:
        """Give a host a certificate and the rights of its role.

        Raises:
            Refused: the secret admits nobody. Invalid: the request is none, or the address.
        """
        address = parse_address(asked.address)
        tokens = msgspec.msgpack.decode(
            (await self._row("secret/tokens")).value, type=dict[str, str]
        )
        role = role_of(
            asked.secret,
            {"worker": hash_secret(tokens["worker"]), "manager": hash_secret(tokens["manager"])},
        )
        node_id = self._parts.new_id()[:24]
        bearer = ca.Bearer(name=f"{role}-{node_id}", role=role, hosts=(address,))
        authority = await self.authority()
        signed = ca.sign_request(authority, asked.request.encode(), bearer, now=self._parts.now())
        spec = NodeSpec(
            id=node_id, name=asked.name, role=role, joined=build_time(self._parts.now())
        )
        await self._rights.give(role, node_id)
        await self._store.commit(Put(f"node/{node_id}/spec", msgspec.msgpack.encode(spec), ABSENT))
        self._parts.events.publish("node", "create", node_id, asked.name, role=role)
        return ClusterAdmitted(
            cluster=self._own.cluster, node_id=node_id, role=role, certificate=signed.decode(),
            managers=managers,
        )  # fmt: skip

    async def enter(self, node_id: str, network: str) -> None:
        """Let a worker have endpoints on a network."""
        await self._row(f"network/{network}")
        await self._row(f"node/{node_id}/spec")
        await self._rights.enter(node_id, network)

    async def enter_volume(self, node_id: str, volume: str) -> None:
        """Let a worker hold a volume."""
        check_name(volume)
        await self._row(f"node/{node_id}/spec")
        await self._rights.enter_volume(node_id, volume)

    async def update(self, node_id: str, asked: NodeUpdate) -> NodeSpec:
        """Change labels and availability; of two at once, one is told to try again."""
        key = f"node/{node_id}/spec"
        row = await self._row(key)
        spec = msgspec.msgpack.decode(row.value, type=NodeSpec)
        labels = {k: v for k, v in spec.labels.items() if k not in asked.label_rm} | asked.labels
        changed = msgspec.structs.replace(
            spec, labels=labels, availability=asked.availability or spec.availability
        )
        await self._store.commit(Put(key, msgspec.msgpack.encode(changed), row.revision))
        self._parts.events.publish("node", "update", node_id, spec.name)
        return changed

    async def change_role(self, node_id: str, role: NodeRole) -> NodeSpec:
        """Make a worker a manager, or the other way; the node follows when it hears of it.

        Done twice it finishes what the first time may not have.

        Raises:
            Refused: it is the last manager. Conflict: others change managers at this moment.
            Unavailable: the other managers are not well enough to lose one.
        """
        turn = await self._store.get("allocation")  # written by whoever changes what all depend on
        key = f"node/{node_id}/spec"
        row = await self._row(key)
        spec = msgspec.msgpack.decode(row.value, type=NodeSpec)
        changed = msgspec.structs.replace(spec, role=role)
        if spec.role != role:
            if role == "worker" and not await self.other_managers(node_id):
                raise Refused("this is the last manager: promote another node first", field="name")
            await self._rights.give(role, node_id)
            await self._store.commit(
                Put("allocation", b"", turn.revision if turn else ABSENT),
                Put(key, msgspec.msgpack.encode(changed), row.revision),
            )
            self._parts.events.publish("node", "update", node_id, spec.name, role=role)
        if role == "worker" and node_id != self._own.node_id:
            await self._end_manager(node_id)  # of this node, whoever signs its next certificate
        return changed

    async def other_managers(self, node_id: str = "") -> list[str]:
        """Ids of the managers without that one, or without this node."""
        rows = await self._store.read("node/")
        specs = [
            msgspec.msgpack.decode(row.value, type=NodeSpec)
            for row in rows
            if row.key.endswith("/spec")
        ]
        besides = node_id or self._own.node_id
        return [each.id for each in specs if each.role == "manager" and each.id != besides]

    async def _end_manager(self, node_id: str) -> None:
        await self._rights.end_manager(node_id)
        if node_id == self._own.node_id:
            self._client.leave_out(self._own.address)

    async def take_out(self, node_id: str, *, is_last_allowed: bool = False) -> None:
        """Forget a node: its rights, rows, endpoints and addresses.

        Raises:
            Refused: it is the last manager.
        """
        spec = msgspec.msgpack.decode(
            (await self._row(f"node/{node_id}/spec")).value, type=NodeSpec
        )
        if spec.role == "manager" and not await self.other_managers(node_id):
            if is_last_allowed:
                return
            raise Refused(
                "this is the last manager: the cluster would end with it; --force if it should"
            )
        await self._forget_rows(node_id)
        await self._rights.end_worker(node_id)
        await self._end_manager(node_id)  # last: it may be this node itself
        self._parts.events.publish("node", "remove", node_id, spec.name)

    async def _forget_rows(self, node_id: str) -> None:
        doomed = [row.key for row in await self._store.read(f"node/{node_id}/")]
        doomed += [
            row.key for row in await self._store.read("ep/") if row.key.split("/")[2] == node_id
        ]
        for row in await self._store.read("addr/"):
            claim = believe(row, AddressClaim)
            if claim is None or claim.node_id == node_id:
                doomed.append(row.key)
        for at in range(0, len(doomed), 500):
            await self._store.commit(*(Delete(key) for key in doomed[at : at + 500]))

    # --- tokens and certificates -----------------------------------------------------------------

    async def token(self, asked: TokenRequest) -> str:
        """The join token of a role; a new one if it is to be rotated."""
        row = await self._row("secret/tokens")
        secrets = msgspec.msgpack.decode(row.value, type=dict[str, str])
        if asked.rotate:
            secrets[asked.role] = new_secret()
            await self._store.commit(
                Put("secret/tokens", msgspec.msgpack.encode(secrets), row.revision)
            )
        digest = ca.ca_digest((await self.authority()).certificate)
        return str(Token(digest=digest, secret=secrets[asked.role]))

    async def certificate(self, asked: CertRequest) -> CertView:
        """A certificate for a program; its key is made here and kept nowhere."""
        if not asked.name.isprintable() or len(asked.name) > 64 or "/" in asked.name:
            raise Invalid("a name is up to 64 printable characters, no slash", field="name")
        authority = await self.authority()
        bearer = ca.Bearer(name=f"client-{asked.name}"[:64], role=asked.role)
        pair = ca.issue(authority, bearer, now=self._parts.now(), days=asked.days)
        return CertView(
            certificate=pair.certificate.decode(),
            key=pair.key.decode(),
            authority=authority.certificate.decode(),
        )

    async def renew(self, node_id: str, request: str) -> str:
        """A new certificate for a node that has one, for its role and address of now.

        Raises:
            Refused: it is no node of the cluster (any more).
        """
        rows = [await self._store.get(f"node/{node_id}/{each}") for each in ("spec", "self")]
        said = believe(rows[1], NodeSelf) if rows[1] else None
        if rows[0] is None or said is None:
            raise Refused("who asks is no node of this cluster", node=node_id)
        spec = msgspec.msgpack.decode(rows[0].value, type=NodeSpec)
        if spec.role == "worker":  # should who demoted it not have come so far
            await self._end_manager(node_id)
        name = f"{spec.role}-{node_id}"
        bearer = ca.Bearer(name=name, role=spec.role, hosts=(said.address,))
        now, authority = self._parts.now(), await self.authority()
        signed = ca.sign_request(authority, request.encode(), bearer, now=now)
        self._parts.events.publish("node", "certificate", node_id, spec.name)
        return signed.decode()
