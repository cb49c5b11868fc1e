"""A container that talks without end leaves bounded files, and no gap in what is read."""

from nodeagent.control.logs import KEEP, PERIOD_S
from nodeagent.rpc.sync_client import open_sync_client

LIMIT = 1 << 20
LINES = 60000  # some 4 MB with their time stamps


def test_logs_are_rotated_and_read_as_one(make_agent) -> None:
    agent = make_agent(settings=f"log_max_bytes = {LIMIT}\n")
    flood = f"i=0; while [ $i -lt {LINES} ]; do echo this is line number $i; i=$((i+1)); done"
    wait = f"sleep {PERIOD_S + 2}; echo end; sleep 1000"
    agent.cli("run", "-d", "--name", "talk", "busybox", "sh", "-c", f"{flood}; {wait}")
    followed = 0
    params = {"name": "talk", "follow": True}
    with (
        open_sync_client(agent.host) as client,
        client.stream("container.logs", params) as logs,
    ):
        for item in logs:
            if item["data"] == b"end\n":
                break
            assert item["data"] == b"this is line number %d\n" % followed
            followed += 1
    assert followed == LINES
    path = agent.root / "containers" / agent.inspect("container", "talk")["Id"] / "log"
    assert 1 < len(list(path.iterdir())) <= KEEP + 1
    assert agent.say("logs", "talk").splitlines()[-2:] == [
        f"this is line number {LINES - 1}",
        "end",
    ]
