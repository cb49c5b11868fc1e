from hypothesis import given
from hypothesis import strategies as st

from nodeagent.cli.timestamps import format_ns


def test_nine_digits():
    assert format_ns(1_700_000_000_000_000_042) == "2023-11-14T22:13:20.000000042Z"


@given(st.integers(0, 4 * 10**18), st.integers(0, 4 * 10**18))
def test_text_sorts_as_time_does(one, other):
    assert (format_ns(one) < format_ns(other)) is (one < other)
