"""Leases among nodes on real etcd: sessions end by themselves, and what was held in them is free.

Covers nodeagent/state/sharedleases.py
"""

import pytest
import trio

from nodeagent.cluster.etcdstore import EtcdStore
from nodeagent.errors import Busy, Missing
from nodeagent.model.lease import Claim, Holder
from nodeagent.state.sharedleases import SharedLeases
from tests.fakes.etcd import client_of, running_members

pytestmark = pytest.mark.timeout(120)
CLAIM = Claim(volume="db", access="rw", sharing="onewriter")


@pytest.fixture
async def leases(tmp_path):
    async with running_members(tmp_path) as members, client_of(members) as client:
        yield SharedLeases(EtcdStore(client))


async def join(leases, node, ttl_s=60.0):
    session = await leases.begin(node, ttl_s)
    return Holder(
        id=node * 64, name=f"c{node}", node=node, session=session, node_name=f"web-{node}"
    )


async def test_one_at_a_time_and_who_is_refused_is_told_where_it_is(leases):
    one, two = await join(leases, "a"), await join(leases, "b")
    (first,) = await leases.take([CLAIM], one, now="t")
    with pytest.raises(Busy, match=r"ca on node web-a \(epoch"):
        await leases.take([CLAIM], two, now="t")
    assert await leases.take([CLAIM], one, now="t") == [first]
    await leases.drop("db", one.id, now="t")
    (second,) = await leases.take([CLAIM], two, now="t")
    assert second.epoch > first.epoch
    assert await leases.read() == [(second, True)]


async def test_of_many_at_once_one_gets_it(leases):
    holders = [await join(leases, each) for each in "abcdef"]
    got = []

    async def take(holder):
        try:
            got.extend(await leases.take([CLAIM], holder, now="t"))
        except Busy:
            return

    async with trio.open_nursery() as nursery:
        for holder in holders:
            nursery.start_soon(take, holder)
    assert len(got) == 1
    assert await leases.read() == [(got[0], True)]


async def test_a_session_that_is_not_renewed_ends_and_its_leases_are_free(leases):
    one, two = await join(leases, "a", 2.0), await join(leases, "b")
    (first,) = await leases.take([CLAIM], one, now="t")
    for _ in range(4):
        await trio.sleep(1)
        await leases.renew(one.session)
    with pytest.raises(Busy):
        await leases.take([CLAIM], two, now="t")
    began_s = trio.current_time()
    await leases.renew(one.session)
    while True:
        try:
            (second,) = await leases.take([CLAIM], two, now="t")
            break
        except Busy:
            await trio.sleep(0.05)
    assert trio.current_time() - began_s >= 2.0  # never before its time
    with pytest.raises(Missing):
        await leases.renew(one.session)
    again = await leases.begin("a", 60)
    assert not await leases.keep("db", one.id, again)
    assert second.epoch > first.epoch


async def test_a_new_session_keeps_what_nobody_took(leases):
    one = await join(leases, "a")
    (first,) = await leases.take([CLAIM], one, now="t")
    again = await leases.begin("a", 60)
    assert await leases.read() == [(first, False)]
    assert await leases.keep("db", one.id, again)
    ((kept, is_live),) = await leases.read()
    assert is_live
    assert kept.epoch == first.epoch


async def test_what_is_broken_is_lost(leases):
    one, two = await join(leases, "a"), await join(leases, "b")
    await leases.take([CLAIM], one, now="t")
    assert [each.name for each in await leases.break_("db", "a")] == ["ca"]
    assert not await leases.keep("db", one.id, one.session)
    assert await leases.take([CLAIM], two, now="t")
    assert await leases.break_("db", "a") == []
