"""The agent's objects in memory, written through to the store before anybody sees a change."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

import msgspec
import trio
from msgspec import Struct

from nodeagent.errors import Conflict, Invalid, Missing
from nodeagent.model.container import ContainerRecord
from nodeagent.model.network import NetworkRecord
from nodeagent.model.volume import VolumeRecord
from nodeagent.state.store import Delete, Put, Store

_Record = TypeVar("_Record", bound=Struct)

PREFIX_MIN = 1  # Docker accepts any unique prefix


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


_NamedRecord = TypeVar("_NamedRecord", bound=_Named)


class Inventory:
    """Containers, networks and volumes by id (volumes by name)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reserved: set[tuple[str, str]] = set()
        self._coming: dict[str, ContainerRecord | NetworkRecord | VolumeRecord] = {}  # by key
        self.containers: dict[str, ContainerRecord] = {}
        self.networks: dict[str, NetworkRecord] = {}
        self.volumes: dict[str, VolumeRecord] = {}

    async def load(self) -> None:
        """Read everything; only at start."""
        self.containers = await self._load("container/", ContainerRecord)
        self.networks = await self._load("network/", NetworkRecord)
        self.volumes = await self._load("volume/", VolumeRecord)

    async def _load(self, prefix: str, type_: type[_Record]) -> dict[str, _Record]:
        rows = await self._store.read(prefix)
        return {
            row.key.removeprefix(prefix): msgspec.msgpack.decode(row.value, type=type_)
            for row in rows
        }

    async def put(self, *records: ContainerRecord | NetworkRecord | VolumeRecord) -> None:
        """Make the records durable together, then visible.

        Cancel: before the commit, or not at all: what is durable is always seen too.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        with self._announced(records), trio.CancelScope(shield=True):
            await self._store.commit(
                *(Put(key=_key(record), value=msgspec.msgpack.encode(record)) for record in records)
            )
            for record in records:
                self._show(record)

    def _show(self, record: ContainerRecord | NetworkRecord | VolumeRecord) -> None:
        match record:
            case ContainerRecord():
                self.containers[record.id] = record
            case NetworkRecord():
                self.networks[record.id] = record
            case VolumeRecord():
                self.volumes[record.name] = record

    @contextmanager
    def _announced(
        self, records: Iterable[ContainerRecord | NetworkRecord | VolumeRecord]
    ) -> Iterator[None]:
        """Let those who ask about use know of what is being committed just now."""
        coming = {_key(record): record for record in records}
        self._coming |= coming
        try:
            yield
        finally:
            for key, record in coming.items():
                if self._coming.get(key) is record:
                    del self._coming[key]

    async def delete(self, record: ContainerRecord | NetworkRecord | VolumeRecord) -> None:
        """Forget the record durably, then in memory. Cancel: as in ``put``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await self._store.commit(Delete(key=_key(record)))
        match record:
            case ContainerRecord():
                self.containers.pop(record.id, None)
            case NetworkRecord():
                self.networks.pop(record.id, None)
            case VolumeRecord():
                self.volumes.pop(record.name, None)

    # --- who uses what: also those who are about to ----------------------------------------------

    def is_leaving(self, record: NetworkRecord | VolumeRecord) -> bool:
        """Whether it is being removed, or that is being decided."""
        coming = self._coming.get(_key(record), record)
        return "removing" in {record.phase, coming.phase}

    def _all_containers(self) -> Iterable[ContainerRecord]:
        coming = {
            each.id: each for each in self._coming.values() if isinstance(each, ContainerRecord)
        }
        return ({**self.containers, **coming}).values()

    def volume_users(self, name: str) -> list[str]:
        """Names of the containers that refer to the volume."""
        return sorted(
            record.name
            for record in self._all_containers()
            if any(mount.name == name for mount in record.mounts)
        )

    def image_users(self, image_id: str) -> list[str]:
        """Names of the containers made of the image."""
        return sorted(each.name for each in self._all_containers() if each.image_id == image_id)

    def members(self, network_id: str) -> list[ContainerRecord]:
        """Containers with an endpoint on the network, running or not."""
        return [each for each in self._all_containers() if network_id in each.endpoints]

    def is_reserved(self, kind: str, name: str) -> bool:
        """Whether an object of that name is being made."""
        return (kind, name) in self._reserved

    @contextmanager
    def reserve(self, kind: str, name: str) -> Iterator[None]:
        """Hold a name while its object is being made.

        Raises:
            Conflict: the name is taken or being taken.
        """
        owner = self._owner(kind, name)
        if owner or (kind, name) in self._reserved:
            raise Conflict(
                f"the {kind} name is already in use", field="name", name=name, by=owner[:12]
            )
        self._reserved.add((kind, name))
        try:
            yield
        finally:
            self._reserved.discard((kind, name))

    def _owner(self, kind: str, name: str) -> str:
        objects: Mapping[str, _Named] = self.containers if kind == "container" else self.networks
        return next((each.id for each in objects.values() if each.name == name), "")

    def container(self, name: str) -> ContainerRecord:
        """Find by id, name or unique id prefix (Missing, Invalid when ambiguous)."""
        return _find("container", self.containers, name)

    def network(self, name: str) -> NetworkRecord:
        """Find by id, name or unique id prefix (Missing, Invalid when ambiguous)."""
        return _find("network", self.networks, name)

    def volume(self, name: str) -> VolumeRecord:
        """Find by name."""
        if name not in self.volumes:
            raise Missing("no such volume", name=name)
        return self.volumes[name]


def _key(record: ContainerRecord | NetworkRecord | VolumeRecord) -> str:
    match record:
        case ContainerRecord():
            return f"container/{record.id}"
        case NetworkRecord():
            return f"network/{record.id}"
        case VolumeRecord():
            return f"volume/{record.name}"


def _find(kind: str, objects: Mapping[str, _NamedRecord], name: str) -> _NamedRecord:
    name = name.removeprefix("/")
    if name in objects:
        return objects[name]
    by_name = [each for each in objects.values() if each.name == name]
    found = by_name or [
        each for id_, each in objects.items() if len(name) >= PREFIX_MIN and id_.startswith(name)
    ]
    if not found:
        raise Missing(f"no such {kind}", name=name)
    if len(found) > 1:
        raise Invalid(f"more than one {kind} has this id prefix; give more digits", name=name)
    return found[0]
