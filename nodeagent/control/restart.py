"""When a container that ended is started again, and after how long. Pure.

Source: mission row C4; Docker's restart manager.
"""

from nodeagent.model.container import ContainerRecord

FIRST_S = 0.1
LONGEST_S = 60.0
STEADY_S = 10.0  # a run of this length resets the back-off


def next_delay_s(previous_s: float, *, ran_s: float) -> float:
    """100 ms, doubling up to a minute; from the start again after a steady run."""
    if ran_s >= STEADY_S or previous_s <= 0:
        return FIRST_S
    return min(previous_s * 2, LONGEST_S)


def wants_restart(record: ContainerRecord) -> bool:
    """Whether a container that has just ended is to run again."""
    policy = record.request.restart_policy
    match policy.name:
        case "always" | "unless-stopped":
            return not record.stopped_by_hand
        case "on-failure":
            has_tries = not policy.max_retries or record.restart_count < policy.max_retries
            return record.exit_code != 0 and not record.stopped_by_hand and has_tries
        case _:
            return False


def wants_start(record: ContainerRecord) -> bool:
    """Whether a container that is down when the agent starts is to run.

    ``always`` comes back even if it was stopped by hand; one that never ran does not.
    """
    if not record.started_at:
        return False
    return record.request.restart_policy.name == "always" or wants_restart(record)


def goes_at_end(record: ContainerRecord) -> bool:
    """Whether a container that is down is to be removed: not one that is being restarted."""
    return record.request.auto_remove and record.ending != "up"
