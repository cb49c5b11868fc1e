"""What every store must do, whichever it is. A new store adds its opener to STORES."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.errors import Invalid, Unavailable
from nodeagent.state.sqlite import open_store
from nodeagent.state.store import (
    ABSENT,
    KEY_MAX_BYTES,
    VALUE_MAX_BYTES,
    Conflict,
    Delete,
    Put,
    Row,
    Store,
    check_keys,
)

Opener = Callable[[Path], AbstractAsyncContextManager[Store]]
STORES: dict[str, Opener] = {
    "sqlite-full": lambda folder: open_store(folder / "state.db", synchronous="FULL"),
    "sqlite-normal": lambda folder: open_store(folder / "state.db", synchronous="NORMAL"),
}


@pytest.fixture(params=STORES)
def opener(request):
    return STORES[request.param]


@pytest.fixture
async def store(opener, tmp_path):
    async with opener(tmp_path) as opened:
        yield opened


async def test_put_then_read(store):
    revision = await store.commit(Put("a/1", b"one"), Put("b/1", b"\x00\xff"))
    assert await store.get("a/1") == Row("a/1", b"one", revision)
    assert await store.read("b/") == [Row("b/1", b"\x00\xff", revision)]
    assert await store.get("a/") is None


async def test_each_commit_is_one_revision_and_rows_keep_theirs(store):
    first = await store.commit(Put("a", b"1"), Put("b", b"1"))
    second = await store.commit(Put("a", b"2"))
    assert second > first
    assert [row.revision for row in await store.read("")] == [second, first]
    assert await store.commit() == second


async def test_read_is_by_prefix_in_key_order(store):
    keys = ["v/b", "v/a", "v/\U0010ffff", "v/é", "v", "w/a", "v0", "u/zz", "v%a", "v_a"]
    await store.commit(*(Put(key, b"") for key in keys))
    assert [row.key for row in await store.read("v/")] == ["v/a", "v/b", "v/é", "v/\U0010ffff"]
    assert [row.key for row in await store.read("v_")] == ["v_a"]
    assert len(await store.read("")) == len(keys)


async def test_delete(store):
    await store.commit(Put("a", b"1"))
    await store.commit(Delete("a"), Delete("never-there"))
    assert await store.read("") == []


@pytest.mark.parametrize("op", [Put("k", b"new", expect=ABSENT), Delete("k", expect=ABSENT)])
async def test_expectation_of_absence(store, op):
    await store.commit(op)
    await store.commit(Put("k", b"old"))
    with pytest.raises(Conflict) as caught:
        await store.commit(op)
    assert caught.value.key == "k"
    assert caught.value.kind == "conflict"
    row = await store.get("k")
    assert row is not None
    assert row.value == b"old"


@pytest.mark.parametrize(
    "make", [lambda n: Put("k", b"new", expect=n), lambda n: Delete("k", expect=n)]
)
async def test_expectation_of_a_revision(store, make):
    with pytest.raises(Conflict):
        await store.commit(make(1))
    first = await store.commit(Put("k", b"1"))
    second = await store.commit(Put("k", b"2"))
    with pytest.raises(Conflict):
        await store.commit(make(first))
    assert await store.get("k") == Row("k", b"2", second)
    await store.commit(make(second))
    assert await store.get("k") != Row("k", b"2", second)


async def test_a_conflict_undoes_the_whole_commit_and_costs_no_revision(store):
    before = await store.commit(Put("taken", b"old"))
    with pytest.raises(Conflict) as caught:
        await store.commit(Put("new", b""), Delete("taken"), Put("gone", b"", expect=77))
    assert caught.value.key == "gone"
    assert await store.read("") == [Row("taken", b"old", before)]
    assert await store.commit() == before


@pytest.mark.parametrize(
    "ops",
    [
        (Put("", b""),),
        (Delete("a\0b"),),
        (Put("k" * (KEY_MAX_BYTES + 1), b""),),
        (Put("\ud800", b""),),
        (Put("k", b"\0" * (VALUE_MAX_BYTES + 1)),),
        (Put("k", b""), Delete("k")),
    ],
    ids=["empty", "nul", "long", "surrogate", "large", "twice"],
)
async def test_what_no_store_can_keep_is_refused(store, ops):
    with pytest.raises(Invalid):
        await store.commit(Put("other", b""), *ops)
    assert await store.read("") == []


async def test_the_largest_that_is_allowed(store):
    key, value = "é" * (KEY_MAX_BYTES // 2), b"\xff" * VALUE_MAX_BYTES
    await store.commit(Put(key, value))
    row = await store.get(key)
    assert row is not None
    assert row.value == value


async def test_parallel_commits_get_each_its_own_result(store):
    revisions: list[int] = []
    conflicts: list[str] = []
    await store.commit(Put("taken", b""))

    async def one(number: int) -> None:
        try:
            op = Put(f"k{number}", b"", expect=ABSENT) if number % 5 else Put("taken", b"", 999)
            revisions.append(await store.commit(op))
        except Conflict as conflict:
            conflicts.append(conflict.key)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert conflicts == ["taken"] * 10
    assert len(set(revisions)) == 40
    assert len(await store.read("k")) == 40


async def test_only_one_of_many_racing_writers_wins(store):
    won: list[int] = []

    async def one(number: int) -> None:
        try:
            await store.commit(Put("lease", str(number).encode(), expect=ABSENT))
            won.append(number)
        except Conflict:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    row = await store.get("lease")
    assert row is not None
    assert [str(number).encode() for number in won] == [row.value]


async def test_a_cancelled_commit_happened_whole_or_not_at_all(store):
    for number in range(20):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.commit, Put(f"{number}/a", b""), Put(f"{number}/b", b""))
                nursery.start_soon(store.commit, Put(f"{number}/c", b""))
                for _ in range(number % 7):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        # in one look: with a store elsewhere it may happen just after the call was given up
        keys = {row.key for row in await store.read(f"{number}/")}
        assert (f"{number}/a" in keys) is (f"{number}/b" in keys)
    await store.commit(Put("after", b""))
    assert await store.get("after") is not None


async def test_a_cancelled_caller_does_not_harm_the_one_beside_it(store):
    done: list[int] = []

    async def victim(scope: trio.CancelScope) -> None:
        with scope:
            await store.commit(Put("victim", b""))

    async def neighbour() -> None:
        done.append(await store.commit(Put("neighbour", b"")))

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(victim, scope)
        nursery.start_soon(neighbour)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert len(done) == 1
    assert await store.get("neighbour") is not None


async def test_acknowledged_is_there_after_reopening(opener, tmp_path):
    async with opener(tmp_path) as store:
        revision = await store.commit(Put("a", b"1"))
    async with opener(tmp_path) as store:
        assert await store.read("") == [Row("a", b"1", revision)]
        assert await store.commit(Put("b", b"1")) > revision


async def test_closed_store_says_so(store):
    await store.close()
    await store.close()
    with pytest.raises(Unavailable):
        await store.commit(Put("a", b""))
    with pytest.raises(Unavailable):
        await store.read("")


@settings(max_examples=40)
@given(st.text(max_size=20))
def test_check_keys_accepts_or_refuses_and_never_crashes(key):
    good = 0 < len(key.encode()) <= KEY_MAX_BYTES and "\0" not in key
    if good:
        check_keys([key])
    else:
        with pytest.raises(Invalid):
            check_keys([key])
