"""What is changed by somebody else again and again is mended ever less often."""

from nodeagent.control.fights import FIRST_S, LONGEST_S, OFTEN, PEACE_S, WITHIN_S, Fights


def fought(fights, key="br", start=0.0):
    """Repairs until it is a fight; the time of the last one."""
    for n in range(OFTEN):
        begun = fights.note([key], start + n)
        assert begun == ([key] if n == OFTEN - 1 else [])
    return start + OFTEN - 1


def test_few_repairs_are_no_fight():
    fights = Fights()
    for n in range(OFTEN - 1):
        assert fights.note(["br"], n) == []
        assert fights.is_due("br", n)
    assert fights.is_due("another", 0)


def test_repairs_far_apart_are_no_fight():
    fights = Fights()
    apart = WITHIN_S / (OFTEN - 1) + 0.1
    for n in range(OFTEN * 2):
        assert fights.note(["br"], n * apart) == []
        assert fights.is_due("br", n * apart)


def test_what_is_done_by_hand_is_no_fight():
    fights = Fights()
    for n in range(10):  # five in a burst, then one in six seconds
        assert fights.note(["br"], n if n < 5 else n * 6.0) == []
        assert fights.is_due("br", n if n < 5 else n * 6.0)


def test_a_fight_is_told_once_and_slows_down():
    fights = Fights()
    now = fought(fights)
    wait = FIRST_S
    for _ in range(10):
        assert not fights.is_due("br", now + wait - 0.1)
        assert fights.wait_s(["br"], now + wait - 1) == 1
        now += wait
        assert fights.is_due("br", now)
        assert fights.note(["br"], now) == []
        wait = min(wait * 2, LONGEST_S)


def test_one_fight_holds_up_nothing_else():
    fights = Fights()
    now = fought(fights)
    assert fights.is_due("ve1", now)
    assert fights.wait_s([], now) == float("inf")


def test_after_a_while_of_peace_it_begins_anew():
    fights = Fights()
    now = fought(fights) + PEACE_S
    assert fights.is_due("br", now)
    assert fights.note(["other"], now) == []
    fought(fights, start=now)
