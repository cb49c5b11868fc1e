"""The first rows of a cluster that is restored, on the store of one host; and what is advised.

On real etcd, with rights: the system ring.
"""

import time

import msgspec
import pytest

from nodeagent.cluster import ca
from nodeagent.cluster.backupfile import Backup
from nodeagent.control.clusterbackup import _advise
from nodeagent.control.founding import MARK, Pems, authority_of, found, restore, specs_of
from nodeagent.errors import Invalid
from nodeagent.model.cluster import ClusterSelf, NodeSpec, StoreStanding
from nodeagent.state.sqlite import open_store

AUTHORITY = ca.create_ca("c1", now=time.time())
OWN = ClusterSelf(
    cluster="c1", node_id="new", role="manager", name="web-9", address="192.0.2.9",
    managers=[], phase="founding",
)  # fmt: skip


class Rights:
    """Notes what is given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, ...]] = []

    async def begin(self, manager_id):
        self.given.append(("begin", manager_id))

    async def give(self, role, node_id):
        self.given.append((role, node_id))

    async def enter(self, node_id, network):
        self.given.append(("enter", node_id, network))


class Killed(Exception):
    pass


class Dying:
    """A store whose agent is killed before a commit."""

    def __init__(self, store, commits: int) -> None:
        self._store, self._left = store, commits
        self.get = store.get

    async def commit(self, *ops):
        self._left -= 1
        if self._left < 0:
            raise Killed
        return await self._store.commit(*ops)


def spec(id_, role):
    return msgspec.msgpack.encode(NodeSpec(id=id_, name=f"n-{id_}", role=role, joined=""))


def backup(**more):
    pems = Pems(certificate=AUTHORITY.certificate, key=AUTHORITY.key)
    rows = {
        "cluster": b"c1", "secret/ca": msgspec.msgpack.encode(pems),
        "node/m/spec": spec("m", "manager"), "node/w/spec": spec("w", "worker"),
        "network/x": b"x", "ep/x/w/1": b"1", "ep/x/m/2": b"2",
        "ep/x/gone/3": b"3", "addr/x/10.0.0.2": b"a",
    }  # fmt: skip
    rows |= {f"addr/x/{n}": bytes(200) for n in range(1500)}
    return Backup(cluster="c1", revision=9, taken="", rows=rows | more)


async def rows_of(store):
    return {row.key: row.value for row in await store.read("")}


async def test_managers_of_before_become_workers_with_their_rights(tmp_path):
    rights = Rights()
    async with open_store(tmp_path / "state.db") as store:
        await restore(store, rights, OWN, backup(), "now")
        found_ = await rows_of(store)
    roles = {
        key: msgspec.msgpack.decode(value, type=NodeSpec).role
        for key, value in found_.items()
        if key.endswith("/spec")
    }
    assert roles == {"node/m/spec": "worker", "node/w/spec": "worker", "node/new/spec": "manager"}
    assert set(found_) == {*backup().rows, "node/new/spec"}
    assert rights.given[0] == ("begin", "new")  # before there is anything to be read
    assert {("worker", "m"), ("worker", "w"), ("enter", "w", "x"), ("enter", "m", "x")} <= {
        *rights.given
    }
    assert ("enter", "gone", "x") not in rights.given


@pytest.mark.parametrize("commits", range(5))
async def test_killed_on_the_way_it_begins_again(tmp_path, commits):
    async with open_store(tmp_path / "state.db") as store:
        with pytest.raises(Killed):
            await restore(Dying(store, commits), Rights(), OWN, backup(), "now")
        assert await store.get(MARK) is None  # the last row of all
        await restore(store, Rights(), OWN, backup(), "now")
        assert set(await rows_of(store)) == {*backup().rows, "node/new/spec"}


async def test_done_twice_it_changes_nothing(tmp_path):
    async with open_store(tmp_path / "state.db") as store:
        await restore(store, Rights(), OWN, backup(), "now")
        before = await store.commit()
        await restore(store, Rights(), OWN, backup(late=b"1"), "now")
        assert await store.commit() == before
        await found(store, Rights(), OWN, AUTHORITY, "now")
        assert await store.commit() == before


def test_what_is_missing_in_a_backup_is_told():
    assert authority_of(backup()) == AUTHORITY
    assert set(specs_of(backup())) == {"m", "w"}
    with pytest.raises(Invalid, match="authority"):
        authority_of(Backup(cluster="c", revision=1, taken="", rows={}))
    with pytest.raises(Invalid, match="node"):
        specs_of(backup(**{"node/z/spec": b"\xff"}))


def test_who_has_seen_more_is_named_before_anybody_goes_on_alone():
    def at(name, revision, term=3, *, answers=True):
        return StoreStanding(node_id=name, name=name, address="192.0.2.1", answers=answers,
                             revision=revision, term=term)  # fmt: skip

    assert _advise([at("a", 9), at("b", 9), at("c", 8)]) == []
    (ahead,) = _advise([at("a", 9), at("b", 10)])
    assert "b (192.0.2.1) has seen more" in ahead
    assert _advise([at("a", 9), at("b", 1, term=4)])  # a later term counts for more
    (silent,) = _advise([at("a", 9), at("b", 0, answers=False)])
    assert "not heard" in silent
