"""When a container that ended runs again."""

import pytest

from nodeagent.control.restart import goes_at_end, next_delay_s, wants_restart, wants_start
from nodeagent.model.containerrequest import RestartPolicy
from tests.fakes.records import container


def record(policy, *, max_retries=0, **fields):
    request = {"restart_policy": RestartPolicy(name=policy, max_retries=max_retries)}
    return container(request=request, **({"started_at": "2026-01-01T00:00:00Z"} | fields))


def test_back_off_doubles_up_to_a_minute_and_resets():
    delays, delay = [], 0.0
    for _ in range(12):
        delay = next_delay_s(delay, ran_s=1)
        delays.append(delay)
    assert delays[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays[-1] == 60
    assert next_delay_s(60, ran_s=10) == 0.1


@pytest.mark.parametrize(
    ("policy", "fields", "again"),
    [
        ("no", {"exit_code": 1}, False),
        ("always", {"exit_code": 0}, True),
        ("always", {"stopped_by_hand": True}, False),
        ("unless-stopped", {"exit_code": 3}, True),
        ("on-failure", {"exit_code": 0}, False),
        ("on-failure", {"exit_code": 1}, True),
        ("on-failure", {"exit_code": 1, "max_retries": 3, "restart_count": 3}, False),
        ("on-failure", {"exit_code": 1, "max_retries": 3, "restart_count": 2}, True),
    ],
)
def test_after_an_exit(policy, fields, again):
    assert wants_restart(record(policy, **fields)) is again


@pytest.mark.parametrize(
    ("policy", "fields", "up"),
    [
        ("always", {"stopped_by_hand": True}, True),
        ("unless-stopped", {"stopped_by_hand": True}, False),
        ("unless-stopped", {}, True),
        ("always", {"started_at": ""}, False),
        ("no", {}, False),
    ],
)
def test_at_agent_start(policy, fields, up):
    assert wants_start(record(policy, **fields)) is up


def test_one_that_is_being_restarted_does_not_go_at_its_end():
    once = {"request": {"auto_remove": True}}
    assert goes_at_end(container(**once))
    assert not goes_at_end(container(**once, ending="up"))
    assert not goes_at_end(container())
