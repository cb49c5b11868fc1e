"""A container is started again until it runs, or its policy is content."""

from types import SimpleNamespace

import msgspec
import pytest

from nodeagent.control.lives import Life
from nodeagent.control.restarting import Restarter
from nodeagent.model.containerrequest import RestartPolicy
from tests.fakes.records import container

ID = "a" * 64


def world(policy, fails):
    """A restarter over one container whose start fails so often."""
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:01Z"}
    record = container(ID, exit_code=1, request={"restart_policy": policy}, **times)
    parts = SimpleNamespace(
        inventory=SimpleNamespace(containers={ID: record}), now=lambda: 0.0, tries=[]
    )

    async def start(again, _life):
        parts.tries.append(again.restart_count)
        phase = "exited" if len(parts.tries) <= fails else "running"
        parts.inventory.containers[ID] = msgspec.structs.replace(again, phase=phase)
        if phase == "exited":
            raise OSError("no network yet")

    return Restarter(parts, start), parts


@pytest.mark.parametrize("fails", [0, 3])
async def test_a_failed_start_is_tried_again_ever_later(autojump_clock, fails):
    restarter, parts = world(RestartPolicy(name="always"), fails)
    life = Life()
    await restarter.run(ID, life)
    assert parts.tries == list(range(1, fails + 2))
    assert life.delay_s == pytest.approx(0.1 * 2**fails)
    assert life.restarting is None


async def test_tries_that_failed_count(autojump_clock):
    restarter, parts = world(RestartPolicy(name="on-failure", max_retries=2), 9)
    await restarter.run(ID, Life())
    assert parts.tries == [1, 2]


async def test_who_wants_no_restart_is_left_alone(autojump_clock):
    restarter, parts = world(RestartPolicy(), 0)
    await restarter.run(ID, Life())
    assert parts.tries == []
