"""kill -9 of the agent while it rotates, compresses and ships: no line is lost."""

from itertools import pairwise

import pytest

from runtime.logs.generations import CHUNK_BYTES
from tests.fakes.collectors import open_rsyslog, wait_for
from tests.system.harness.agent import open_agent
from tests.system.harness.namespace import open_namespace

MOMENTS = (30, 150, 400, 900, 1700, 3100, 5300, 9000)  # calls of the agent's own functions
DIE_S = 30.0
LINE_BYTES = 40  # at least, with its time stamp
TALK = """i=0; until [ -e /told/stop ]; do
  end=$((i+40)); while [ $i -lt $end ]; do echo $i; i=$((i+1)); done; sleep 0.05
done; echo end"""


@pytest.fixture
def agent(busybox_tar):
    with open_namespace() as place, open_agent(place, crashing=True) as agent:
        agent.cli("image", "import", str(busybox_tar), "busybox:latest")
        yield agent


def test_no_moment_loses_a_line(agent, tmp_path) -> None:
    with open_rsyslog(tmp_path, prefix=agent.space.argv()) as rsyslog:
        address = f"syslog-address=tcp://127.0.0.1:{rsyslog.port}"
        words = (address, "max-size=16k", "max-file=1000")
        asked = [
            "--log-driver",
            "syslog",
            *(each for word in words for each in ("--log-opt", word)),
        ]
        bind = ("-v", f"{tmp_path}:/told")
        agent.cli(
            "run",
            "-d",
            "--name",
            "talk",
            "--log-driver",
            "syslog",
            *asked,
            *bind,
            "busybox",
            "sh",
            "-c",
            TALK,
        )
        for moment in MOMENTS:
            agent.arm(moment)
            assert agent.wait_end(DIE_S) == -9
            agent.start()
        (tmp_path / "stop").touch()
        assert agent.say("wait", "talk") == "0"
        wait_for(lambda: "end" in rsyslog.texts())
        told = rsyslog.texts()
    kept = agent.say("logs", "talk").splitlines()
    count = len(kept) - 1
    assert kept == [*map(str, range(count)), "end"]
    assert set(told) == set(kept)
    numbers = [count if text == "end" else int(text) for text in told]
    backwards = [(one, other) for one, other in pairwise(numbers) if other != one + 1]
    assert len(backwards) <= len(MOMENTS)
    assert all(0 <= one - other < CHUNK_BYTES // LINE_BYTES for one, other in backwards)
    folder = agent.root / "containers" / agent.inspect("container", "talk")["Id"] / "log"
    wait_for(lambda: [each for each in folder.iterdir() if each.suffix == ".gz"])
    wait_for(lambda: not [each for each in folder.iterdir() if each.suffix == ".half"])
