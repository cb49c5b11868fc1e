import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.errors import Busy
from nodeagent.model.lease import Book, Claim, Holder, Lease, drop, grant, keep, leave, without_void

ONE, TWO = (Holder(id=each * 64, name=each, node="n") for each in "ab")


def claim(access="rw", sharing="all"):
    return Claim(volume="data", access=access, sharing=sharing)


@pytest.mark.parametrize(
    ("sharing", "first", "second", "allowed"),
    [
        ("all", "rw", "rw", True),
        ("none", "ro", "ro", False),
        ("none", "rw", "ro", False),
        ("onewriter", "rw", "rw", False),
        ("onewriter", "rw", "ro", True),
        ("onewriter", "ro", "rw", True),
        ("readonly", "ro", "ro", True),
        ("readonly", "ro", "rw", False),
    ],
)
def test_who_may_beside_whom(sharing, first, second, allowed):
    book = grant(Book(volume="data"), claim(first, sharing), ONE, now="t")
    if allowed:
        assert len(grant(book, claim(second, sharing), TWO, now="t").leases) == 2
    else:
        with pytest.raises(Busy, match="data"):
            grant(book, claim(second, sharing), TWO, now="t")
    assert grant(book, claim(first, sharing), ONE, now="later") == book


def test_what_is_being_given_back_counts_until_it_is():
    book = grant(Book(volume="data"), claim(sharing="none"), ONE, now="t")
    book = leave(book, ONE.id)
    with pytest.raises(Busy):
        grant(book, claim(sharing="none"), TWO, now="t")
    again = grant(book, claim(sharing="none"), ONE, now="t2")
    assert not again.leases[0].leaving
    assert again.epoch > book.epoch
    gone = drop(book, ONE.id, now="t3")
    assert (gone.leases, gone.last_user, gone.last_used) == ([], "a", "t3")
    assert drop(gone, ONE.id, now="t4") == gone
    assert leave(gone, ONE.id) == gone


@given(
    st.lists(st.tuples(st.sampled_from("gld"), st.integers(0, 3), st.sampled_from(["rw", "ro"])))
)
def test_one_writer_and_epochs_rise_whatever_happens(steps):
    book, granted = Book(volume="data", epoch=7), 7
    for action, who, access in steps:
        holder = Holder(id=str(who), name=str(who), node="n")
        if action == "l":
            book = leave(book, holder.id)
        elif action == "d":
            book = drop(book, holder.id, now="t")
        else:
            try:
                book = grant(book, claim(access, "onewriter"), holder, now="t")
            except Busy:
                continue
        assert book.epoch >= granted
        granted = book.epoch
        assert sum(each.access == "rw" for each in book.leases) <= 1
        assert len({each.holder for each in book.leases}) == len(book.leases)
        assert len({each.epoch for each in book.leases}) == len(book.leases)


def test_what_was_held_in_an_ended_session_is_void_and_what_nobody_took_can_be_kept():
    book = Book(
        volume="v", epoch=4,
        leases=[
            Lease(volume="v", holder=each, node=each, epoch=n, access="ro", taken="", session=n)
            for n, each in enumerate("abc", 2)
        ],
    )  # fmt: skip
    left = without_void(book, {"a": 2, "b": 9})
    assert [each.holder for each in left.leases] == ["a"]
    assert without_void(book, {"a": 2, "b": 3, "c": 4}) is book
    kept = keep(book, "b", 9)
    assert [(each.session, each.epoch) for each in kept.leases] == [(2, 2), (9, 3), (4, 4)]
    assert keep(kept, "b", 9) is kept
    assert keep(left, "b", 9) is None
