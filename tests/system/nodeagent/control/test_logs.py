"""Logs stay bounded and are read without a gap, or with one that is told."""

import gzip

import pytest

from nodeagent.control.logs import PERIOD_S
from nodeagent.rpc.sync_client import open_sync_client
from tests.fakes.collectors import wait_for
from tests.system.harness.agent import open_agent
from tests.system.harness.images import build_busybox
from tests.system.harness.namespace import open_namespace

LIMIT = 1 << 20
LINES = 60000  # some 4 MB with their time stamps
SETTINGS = f"""log_max_bytes = {LIMIT}
log_budget_bytes = {64 << 20}
"""


@pytest.fixture(scope="module")
def agent(busybox_tar):
    with open_namespace() as place, open_agent(place, settings=SETTINGS) as agent:
        agent.cli("image", "import", str(busybox_tar), "busybox:latest")
        yield agent


def flood(lines):
    return f"i=0; while [ $i -lt {lines} ]; do echo this is line number $i; i=$((i+1)); done"


def folder_of(agent, name):
    return agent.root / "containers" / agent.inspect("container", name)["Id"] / "log"


def test_logs_are_rotated_compressed_and_read_as_one(agent) -> None:
    wait = f"sleep {PERIOD_S + 2}; echo end; sleep 1000"
    agent.cli("run", "-d", "--name", "talk", "busybox", "sh", "-c", f"{flood(LINES)}; {wait}")
    followed, cursors = 0, []
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
            if followed % 25000 == 0:
                cursors.append((followed, item["cursor"]))
    assert followed == LINES
    folder = folder_of(agent, "talk")
    packed = wait_for(lambda: sorted(folder.glob("ctr.log.*.gz")))
    assert gzip.decompress(packed[0].read_bytes()).startswith(b"20")
    wait_for(lambda: len(list(folder.iterdir())) <= 5)
    assert agent.say("logs", "talk").splitlines()[-2:] == [
        f"this is line number {LINES - 1}",
        "end",
    ]
    for number, cursor in cursors:
        with (
            open_sync_client(agent.host) as client,
            client.stream("container.logs", {"name": "talk", "after": cursor}) as logs,
        ):
            first = next(iter(logs))
            assert first["data"] == b"this is line number %d\n" % number


def test_who_comes_too_late_is_told(agent) -> None:
    """One file only, as Docker's max-file=1: what is read at one go has no gap in the middle."""
    options = ("--log-opt", "max-size=64k", "--log-opt", "max-file=1")
    script = f"echo first; sleep 1; {flood(20000)}; sleep 2; echo last; sleep 1000"
    agent.cli("run", "-d", "--name", "brief", *options, "busybox", "sh", "-c", script)
    with open_sync_client(agent.host) as client:
        with client.stream("container.logs", {"name": "brief", "follow": True}) as logs:
            first = next(iter(logs))
            assert first["data"] == b"first\n"
            for item in logs:
                if item["data"] == b"last\n":
                    break
        with client.stream("container.logs", {"name": "brief", "after": first["cursor"]}) as logs:
            late = next(iter(logs))
        assert late["lost"] > 0
    view = agent.inspect("container", "brief")
    assert view["HostConfig"]["LogConfig"] == {
        "Type": "local",
        "Config": {"max-size": "64k", "max-file": "1"},
    }
    text = agent.say("logs", "brief")
    assert text.splitlines()[-1] == "last"
    assert len(text) < 1 << 20


def test_details_and_the_driver_none(agent) -> None:
    options = ("--log-opt", "labels=team", "--log-opt", "env=TIER", "--log-opt", "tag={{.Name}}")
    facts = ("--label", "team=net works", "-e", "TIER=gold", "--log-driver", "json-file")
    agent.cli("run", "--name", "told", *facts, *options, "busybox", "echo", "hello")
    assert agent.say("logs", "--details", "told") == ("TIER=gold,tag=told,team=net%20works hello")
    assert agent.say("logs", "told") == "hello"
    assert agent.say("inspect", "--format", "{{.HostConfig.LogConfig.Type}}", "told") == "json-file"
    said = agent.say("run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "hello")
    assert said == "hello", "who is attached hears it"
    assert not list(folder_of(agent, "mute").glob("*"))
    refused = agent.cli("logs", "mute", check=False)
    assert refused.returncode
    assert "log driver none" in refused.stderr
    wrong = agent.cli("create", "--log-opt", "max-sise=1m", "busybox", "true", check=False)
    assert "max-sise" in wrong.stderr
    assert "max-size" in wrong.stderr


def test_a_full_disk_holds_up_neither_the_program_nor_the_agent(make_small, tmp_path) -> None:
    """The log alone is larger than the disk, and is asked to be without limits."""
    small = make_small()
    small.cli("image", "import", str(make_busybox(tmp_path)), "busybox:latest")
    script = f"yes {'x' * 400} | head -c 25000000; touch /told/end; sleep 99"
    asked = ("--log-opt", "max-size=-1", "-v", f"{tmp_path}:/told")
    small.cli("run", "-d", "--name", "flood", *asked, "busybox", "sh", "-c", script)
    wait_for((tmp_path / "end").exists, 60)
    assert small.inspect("container", "flood")["State"]["Running"]
    assert small.say("exec", "flood", "echo", "alive") == "alive"
    assert small.say("logs", "--tail", "1", "flood")
    path = folder_of(small, "flood") / "ctr.log"
    assert path.stat().st_size < 25_000_000, "the disk was full"
    path.write_bytes(b"")  # as an operator may: room again
    small.cli("exec", "flood", "sh", "-c", "echo after > /proc/1/fd/1")
    wait_for(lambda: small.say("logs", "flood").splitlines()[-1:] == ["after"])
    small.cli("rm", "-f", "flood")


def make_busybox(folder):
    path = folder / "busybox.tar"
    path.write_bytes(build_busybox())
    return path
