"""Answers that are kept ready, and how many."""

from hypothesis import given
from hypothesis import strategies as st

from netdrivers.dns.prepared import MAX_KEPT, Prepared


def test_turns_come_round_without_their_id():
    kept = Prepared()
    tally = [0]
    kept.keep(b"idquestion", [b"idone", b"idtwo"], tally, until=7.0)
    found = kept.answers[b"question"]
    assert [next(found.turns) for _ in range(3)] == [b"one", b"two", b"one"]
    assert (found.tally is tally, found.until) == (True, 7.0)


def test_an_odd_query_and_a_huge_answer_are_not_kept():
    kept = Prepared(max_bytes=100)
    kept.keep(b"x" * 301, [b"id"], [0], until=1.0)
    kept.keep(b"idquestion", [b"x" * 100], [0], until=1.0)
    assert not kept.answers


def test_the_number_is_bounded():
    kept = Prepared()
    for number in range(MAX_KEPT + 1):
        kept.keep(b"id" + number.to_bytes(4), [b"id"], [0], until=1.0)
    assert list(kept.answers) == [MAX_KEPT.to_bytes(4)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 120)), max_size=30))
def test_the_bytes_are_bounded_and_the_last_is_there(asked):
    kept = Prepared(max_bytes=100)
    for question, size in asked:
        kept.keep(b"id%d" % question, [bytes(size)], [0], until=1.0)
        assert (b"%d" % question in kept.answers) == (size + 3 <= 100)
        assert sum(each.size_bytes for each in kept.answers.values()) <= 100


def test_the_same_question_again_costs_its_room_once():
    kept = Prepared(max_bytes=100)
    kept.keep(b"idother", [b"id"], [0], until=1.0)
    for _ in range(50):
        kept.keep(b"idquestion", [b"idanswer"], [0], until=1.0)
    assert len(kept.answers) == 2
