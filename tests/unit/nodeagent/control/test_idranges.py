import itertools

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.idranges import COUNT, FIRST, LAST, candidates, parse_subids

SPANS = st.builds(lambda a, n: range(a, a + n), st.integers(0, 1 << 31), st.integers(1, 1 << 29))


def test_lines_of_subuid():
    text = "root:100000:65536\n# x\nalice:1:2\nbroken:x:1\n\nshort:5\n"
    assert list(parse_subids(text)) == [range(100000, 165536), range(1, 3)]


def test_two_agents_begin_elsewhere():
    one, two = next(iter(candidates("ab12", ()))), next(iter(candidates("cd34", ())))
    assert one != two


@given(st.text("0123456789abcdef", min_size=1, max_size=12), st.lists(SPANS, max_size=4))
def test_none_is_a_users_and_none_comes_twice(agent, foreign):
    found = list(itertools.islice(candidates(agent, foreign), 50))
    assert len(set(found)) == len(found)
    for first in found:
        assert FIRST <= first <= LAST
        assert not [each for each in foreign if first < each.stop and each.start < first + COUNT]
