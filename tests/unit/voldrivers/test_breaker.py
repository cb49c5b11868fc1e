from hypothesis import given
from hypothesis import strategies as st

from voldrivers.breaker import FAILURES, REST_MAX_S, REST_S, Breaker


def test_one_that_hangs_opens_it_at_once_and_a_refusal_after_some():
    hung, refused = Breaker(), Breaker()
    hung.fail(0.0, "no answer", timed_out=True)
    assert hung.state(0.0) == "open"
    for _ in range(FAILURES - 1):
        refused.fail(0.0, "refused", timed_out=False)
    assert refused.state(0.0) == "closed"
    refused.fail(0.0, "refused", timed_out=False)
    assert refused.state(0.0) == "open"


def test_one_trial_at_a_time_and_its_success_closes():
    breaker = Breaker()
    breaker.fail(0.0, "no answer", timed_out=True)
    assert not breaker.enter(REST_S / 2)
    assert breaker.enter(REST_S)
    assert not breaker.enter(REST_S)  # the trial runs
    breaker.leave()  # its caller left: nothing is known
    assert breaker.enter(REST_S)
    breaker.succeed()
    assert breaker.state(REST_S) == "closed"
    assert not breaker.reason


@given(st.integers(1, 40))
def test_trials_come_more_and_more_seldom_but_come(count):
    breaker, now = Breaker(), 0.0
    for n in range(count):
        breaker.fail(now, "no answer", timed_out=True)
        assert breaker.trial_s - now == min(REST_S * 2**n, REST_MAX_S)
        now = breaker.trial_s
        assert breaker.enter(now)
