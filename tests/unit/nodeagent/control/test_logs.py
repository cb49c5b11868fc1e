import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.logs import SHARE_MIN_BYTES, Aside, LogKeeper, plan_drops
from nodeagent.errors import Exhausted
from nodeagent.model.logs import LogRecord, LogSettings
from tests.fakes.control import Control
from tests.fakes.records import container

A, B = "a" * 64, "b" * 64


def aside(id_, generation, size):
    return Aside(container_id=id_, generation=generation, size_bytes=size)


rows = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 50)),
                unique_by=lambda each: each[:2])  # fmt: skip


@given(rows, st.integers(0, 300))
def test_what_is_left_fits_and_no_more_goes_than_must(found, budget):
    files = [aside(*each) for each in found]
    dropped = plan_drops(files, budget)
    left = sum(each.size_bytes for each in files) - sum(each.size_bytes for each in dropped)
    assert left <= budget or len(dropped) == len(files)
    if dropped:
        assert left + dropped[-1].size_bytes > budget
    for id_ in "abc":
        mine = sorted(each.generation for each in files if each.container_id == id_)
        gone = [each.generation for each in dropped if each.container_id == id_]
        assert gone == mine[: len(gone)], "the oldest go first"


def test_who_floods_pushes_out_its_own_past():
    files = [aside("loud", n, 100) for n in range(1, 9)] + [aside("quiet", 1, 90)]
    assert [(each.container_id, each.generation) for each in plan_drops(files, 400)] == [
        ("loud", n) for n in range(1, 6)
    ]


async def keeper_of(root, nursery, *records, **settings):
    control = Control(root, nursery, logs=LogSettings(**settings))
    for record in records:
        await control.inventory.put(record)
    return control, control.runtime.logbook, LogKeeper(control.parts)


async def test_options_of_the_container_go_before_the_configured_ones(tmp_path, nursery):
    own = LogRecord(max_bytes=100, max_files=2, compress=False)
    _, book, keeper = await keeper_of(
        tmp_path, nursery, container(A, name="one", phase="running", log=own),
        container(B, name="two", phase="running"), max_bytes=1000, max_files=9,
    )  # fmt: skip
    book.sizes = {A: 500, B: 500}
    await keeper.look_at_all()
    assert set(book.tidied) == {(A, 1, False), (B, 8, True)}
    assert (keeper.rotations, len(book.rows[A])) == (1, 1)
    book.sizes[A] = 500
    await keeper.look_at_all()
    assert len(book.rows[A]) == 1
    assert keeper.dropped == {"age": 1, "budget": 0}
    book.tidied.clear()
    await keeper.look_at_all()
    assert book.tidied == [], "nothing to do, nothing asked"


async def test_no_limit_and_no_log(tmp_path, nursery):
    _, book, keeper = await keeper_of(
        tmp_path, nursery, container(A, name="one", phase="running", log=LogRecord(max_bytes=0)),
        container(B, name="two", phase="running", log=LogRecord(driver="none")),
    )  # fmt: skip
    book.sizes = {A: 1 << 40, B: 1 << 40}
    await keeper.look_at_all()
    assert keeper.rotations == 0


async def test_the_budget_holds_whatever_the_containers_asked_for(tmp_path, nursery):
    budget = 8 * SHARE_MIN_BYTES
    unbounded = LogRecord(max_bytes=0, max_files=1000)
    _, book, keeper = await keeper_of(
        tmp_path, nursery, container(A, name="one", phase="running", log=unbounded),
        container(B, name="two", phase="running", log=unbounded), budget_bytes=budget,
    )  # fmt: skip
    for _ in range(10):
        book.sizes = {A: budget // 3, B: 10}
        await keeper.look_at_all()
        await keeper.hold_budget()
        kept = sum(each.size_bytes for row in book.rows.values() for each in row)
        assert keeper.bytes == kept + sum(book.sizes.values()) <= budget
    assert book.sizes == {B: 10}, "its share was not used up"
    assert keeper.dropped["budget"] == 8


async def test_what_ended_containers_left_counts_and_goes_too(tmp_path, nursery):
    many = [container(f"{n:064x}", name=f"c{n}") for n in range(20)]
    budget = 30 * SHARE_MIN_BYTES
    _, book, keeper = await keeper_of(tmp_path, nursery, *many, max_bytes=0, budget_bytes=budget)
    book.sizes = {each.id: 4 * SHARE_MIN_BYTES for each in many}
    await keeper.look_at_all()
    await keeper.hold_budget()
    assert not book.sizes
    assert keeper.bytes <= budget
    assert keeper.dropped["budget"] == 20 - 7


async def test_a_log_that_cannot_be_kept_is_told_and_the_others_are(tmp_path, nursery, caplog):
    control, book, keeper = await keeper_of(
        tmp_path, nursery, container(A, name="one", phase="running"), max_bytes=100
    )
    book.sizes = {A: 500}
    control.faults.errors["rotate"] = Exhausted("no space")
    with caplog.at_level(logging.WARNING):
        await keeper.look_at_all()
    assert "log not kept" in caplog.text
    control.faults.errors["rotate"] = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        await keeper.look_at_all()
