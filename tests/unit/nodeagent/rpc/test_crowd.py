"""Who must go when a door is crowded, and who asks too often."""

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.rpc.crowd import MAX_PACES, Crowd, Pace


def fill(crowd, *addresses):
    gone = []
    for n, address in enumerate(addresses):
        crowd.enter(n, address, lambda n=n: gone.append(n))
    return gone


def test_a_flood_makes_room_out_of_itself():
    crowd = Crowd(4)
    gone = fill(crowd, "a", "flood", "flood", "b", "flood", "flood", "c")
    assert gone == [1, 2, 4]
    assert crowd.evicted == 3


def test_who_left_is_not_sent_away_and_who_was_sent_away_may_leave():
    crowd = Crowd(2)
    gone = fill(crowd, "a", "a")
    crowd.leave(0)
    crowd.enter(2, "b", lambda: gone.append(2))
    assert gone == []
    crowd.enter(3, "c", lambda: gone.append(3))
    assert gone == [1]
    crowd.leave(1)
    crowd.enter(4, "c", lambda: gone.append(4))
    assert gone == [1, 3]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(0, 9)), max_size=60))
def test_there_are_never_more_than_the_limit(steps):
    crowd, there = Crowd(3), set()
    for n, (comes, address, which) in enumerate(steps):
        if comes:
            crowd.enter(n, address, lambda n=n: there.discard(n))
            there.add(n)
        elif which in there:
            crowd.leave(which)
            there.discard(which)
        assert len(there) <= 3


def test_a_burst_and_then_one_at_a_time():
    pace = Pace(burst=3, every_s=2.0)
    assert [pace.may("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert pace.may("b", 0.0)
    assert not pace.may("a", 1.9)
    assert pace.may("a", 2.0)
    assert not pace.may("a", 2.0)
    assert [pace.may("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_remembered_is_bounded():
    pace = Pace(burst=1, every_s=1e6)
    for n in range(MAX_PACES + 1):
        assert pace.may(str(n), 0.0)
    assert pace.may("0", 0.0)  # forgotten
    assert not pace.may(str(MAX_PACES), 0.0)
