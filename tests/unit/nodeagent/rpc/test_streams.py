"""Credit: never more on its way than allowed, and never stuck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.rpc.streams import AckCounter, InputMeter, Window


@given(st.integers(1, 50), st.integers(0, 300))
def test_a_window_and_its_acks_neither_overflow_nor_stick(size, items):
    window, acks, unacknowledged = Window(size), AckCounter(size), 0
    for _ in range(items):
        assert window.is_open()
        window.take()
        unacknowledged += 1
        assert unacknowledged <= size
        if count := acks.use():
            unacknowledged -= count
            window.acknowledge(count)


def test_a_window_closes():
    window = Window(2)
    window.take()
    window.take()
    assert not window.is_open()
    window.acknowledge(10**9)
    window.take()
    window.take()
    assert not window.is_open()


def test_window_zero_is_no_limit_and_needs_no_ack():
    window, acks = Window(0), AckCounter(0)
    for _ in range(1000):
        assert window.is_open()
        window.take()
        assert acks.use() == 0


@given(st.lists(st.integers(1, 100)))
def test_input_within_the_credit_always_goes_on(pieces):
    meter, credit = InputMeter(100), 100
    for piece in pieces:
        while piece:
            sent = min(piece, credit)
            assert sent > 0
            assert meter.arrive(sent)
            credit += meter.use(sent) - sent
            piece -= sent


@pytest.mark.parametrize("credit", [0, 10])
def test_input_beyond_the_credit_is_noticed(credit):
    meter = InputMeter(credit)
    assert credit == 0 or meter.arrive(credit)
    assert not meter.arrive(1)
