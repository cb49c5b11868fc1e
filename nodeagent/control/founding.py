"""The first rows of a cluster: of a new one, of a backup, or of the only member that is left."""

import logging
import secrets
from collections.abc import Iterator
from typing import Final

import msgspec

from nodeagent.cluster import ca
from nodeagent.cluster.backupfile import Backup
from nodeagent.control.storerights import StoreRights
from nodeagent.errors import Invalid
from nodeagent.model.cluster import ClusterSelf, NodeSpec
from nodeagent.state.store import ABSENT, Conflict, Put, SharedStore

log = logging.getLogger(__name__)

SECRET_BYTES: Final = 16
CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 512 << 10  # etcd refuses requests over 1.5 MiB
MARK: Final = "cluster"  # the row that is written last, or with all: the cluster is founded


class Pems(msgspec.Struct, frozen=True, kw_only=True):
    """The authority as it is kept in the store."""

    certificate: bytes
    key: bytes


def new_secret() -> str:
    """Of a join token."""
    return secrets.token_hex(SECRET_BYTES)


async def found(
    store: SharedStore, rights: StoreRights, own: ClusterSelf, authority: ca.Pair, joined: str
) -> None:
    """Write the rows of a new cluster, and have rights checked. Done twice it does nothing."""
    pems = Pems(certificate=authority.certificate, key=authority.key)
    spec = NodeSpec(id=own.node_id, name=own.name, role="manager", joined=joined)
    tokens = {role: new_secret() for role in ("worker", "manager")}
    try:
        await store.commit(
            Put(MARK, own.cluster.encode(), ABSENT),
            Put("secret/ca", msgspec.msgpack.encode(pems)),
            Put("secret/tokens", msgspec.msgpack.encode(tokens)),
            Put("allocation", b""),
            Put(f"node/{spec.id}/spec", msgspec.msgpack.encode(spec)),
        )
    except Conflict:
        log.info("the cluster was founded already, going on")
    await rights.begin(own.node_id)


def authority_of(backup: Backup) -> ca.Pair:
    """The authority that a backup holds. Invalid: it holds none."""
    try:
        pems = msgspec.msgpack.decode(backup.rows["secret/ca"], type=Pems)
    except (KeyError, msgspec.DecodeError) as exc:
        raise Invalid("the backup holds no authority of a cluster", field="file") from exc
    return ca.Pair(certificate=pems.certificate, key=pems.key)


def specs_of(backup: Backup) -> dict[str, NodeSpec]:
    """The nodes of a backup, by id. Invalid: one of them cannot be read."""
    try:
        return {
            key.split("/")[1]: msgspec.msgpack.decode(value, type=NodeSpec)
            for key, value in backup.rows.items()
            if key.startswith("node/") and key.endswith("/spec")
        }
    except msgspec.DecodeError as exc:
        raise Invalid("a node of the backup cannot be read", field="file") from exc


async def restore(
    store: SharedStore, rights: StoreRights, own: ClusterSelf, backup: Backup, joined: str
) -> None:
    """Write the rows of a backup, with this node as the only manager. Done twice it goes on.

    Managers of before become workers: who of them is alive follows, and can be promoted again.
    """
    await rights.begin(own.node_id)  # first: other nodes connect as soon as there is a store
    if await store.get(MARK) is not None:
        return
    specs = specs_of(backup)
    changed = {
        id_: msgspec.structs.replace(spec, role="worker")
        for id_, spec in specs.items()
        if id_ != own.node_id
    }
    changed[own.node_id] = NodeSpec(id=own.node_id, name=own.name, role="manager", joined=joined)
    rows = backup.rows | {
        f"node/{id_}/spec": msgspec.msgpack.encode(spec) for id_, spec in changed.items()
    }
    for id_ in changed:
        if id_ != own.node_id:
            await rights.give("worker", id_)
    for network, id_ in sorted(_presences(rows)):
        if id_ in changed and id_ != own.node_id:
            await rights.enter(id_, network)
    for chunk in _chunks({key: value for key, value in rows.items() if key != MARK}):
        await store.commit(*chunk)
    await store.commit(Put(MARK, own.cluster.encode()))


def _presences(rows: dict[str, bytes]) -> set[tuple[str, str]]:
    """(network, node) of the endpoints."""
    parts = (key.split("/") for key in rows if key.startswith("ep/"))
    return {(each[1], each[2]) for each in parts if len(each) == 4}


def _chunks(rows: dict[str, bytes]) -> Iterator[list[Put]]:
    chunk: list[Put] = []
    size = 0
    for key, value in rows.items():
        if chunk and (len(chunk) >= CHUNK_ROWS or size + len(value) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(Put(key, value))
        size += len(key) + len(value)
    if chunk:
        yield chunk
