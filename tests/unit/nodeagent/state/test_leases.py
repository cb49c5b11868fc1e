"""What every store must do for leases. A new store adds its opener to STORES in test_store."""

import pytest
import trio

from nodeagent.errors import Busy
from nodeagent.model.lease import Claim, Holder
from nodeagent.state.leases import Leases
from tests.unit.nodeagent.state.test_store import STORES

ONE, TWO = (Holder(id=each * 64, name=each, node=each) for each in "ab")


def claim(volume="data", access="rw", sharing="onewriter"):
    return Claim(volume=volume, access=access, sharing=sharing)


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    async with STORES[request.param](tmp_path) as opened:
        yield opened


async def load(store):
    leases = Leases(store)
    await leases.load()
    return leases


async def test_a_lease_outlives_the_agent(store):
    (lease,) = await (await load(store)).take([claim()], ONE, now="t")
    again = await load(store)
    assert again.held(ONE.id) == [lease]
    assert await again.check(lease)
    assert again.book("data").last_user == "a"


async def test_of_two_agents_one_gets_it(store):
    agents = [await load(store), await load(store)]
    got = []

    async def take(agent, holder):
        try:
            got.extend(await agent.take([claim()], holder, now="t"))
        except Busy:
            return

    async with trio.open_nursery() as nursery:
        for agent, holder in zip(agents, (ONE, TWO), strict=True):
            nursery.start_soon(take, agent, holder)
    assert len(got) == 1
    assert [len((await load(store)).all())] == [1]


async def test_who_was_declared_dead_sees_that_its_lease_is_gone(store):
    stale, other = await load(store), await load(store)
    (lease,) = await stale.take([claim()], ONE, now="t")
    await other.load()
    await other.drop(["data"], ONE.id, now="t")
    (newer,) = await other.take([claim()], TWO, now="t")
    assert newer.epoch > lease.epoch
    assert not await stale.check(lease)
    with pytest.raises(Busy):
        await stale.take([claim()], ONE, now="t")


async def test_all_claims_or_none(store):
    leases = await load(store)
    await leases.take([claim("second")], ONE, now="t")
    with pytest.raises(Busy, match="second"):
        await leases.take([claim("first"), claim("second")], TWO, now="t")
    assert leases.held(TWO.id) == []
    assert (await load(store)).held(TWO.id) == []


async def test_epochs_rise_over_the_death_of_the_volume(store):
    leases = await load(store)
    (before,) = await leases.take([claim()], ONE, now="t")
    await leases.drop(["data"], ONE.id, now="t")
    await leases.forget("data")
    assert await store.read("lease/") == []
    (after,) = await leases.take([claim()], ONE, now="t")
    assert after.epoch > before.epoch


async def test_leaving_is_durable_and_nothing_is_written_twice(store):
    leases = await load(store)
    await leases.take([claim()], ONE, now="t")
    await leases.leave(["data"], ONE.id)
    assert (await load(store)).held(ONE.id)[0].leaving
    revision = await store.commit()
    await leases.leave(["data"], ONE.id)
    await leases.drop(["data"], TWO.id, now="t")
    await leases.take([], TWO, now="t")
    assert await store.commit() == revision
