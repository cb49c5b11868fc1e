"""Logs on their way to collectors that stop, start again and die, and agents that do."""

import json
import threading
from contextlib import contextmanager

import pytest

from tests.fakes.collectors import Forward, Rsyslog, open_rsyslog, wait_for
from tests.system.harness.agent import open_agent
from tests.system.harness.namespace import open_namespace

METRICS = "127.0.0.1:9323"
SETTINGS = f"""[metrics]
listen = "{METRICS}"
"""
WITHIN_S = 40.0  # a collector that is tried again is tried within 30 s


@pytest.fixture(scope="module")
def agent(busybox_tar):
    with open_namespace() as place, open_agent(place, settings=SETTINGS) as agent:
        agent.cli("image", "import", str(busybox_tar), "busybox:latest")
        yield agent


@pytest.fixture(autouse=True)
def _emptied(agent):
    yield
    agent.remove_all()


@pytest.fixture
def rsyslog(agent, tmp_path):
    with open_rsyslog(tmp_path, prefix=agent.space.argv()) as made:
        yield made


def options(rsyslog: Rsyslog, *more: str) -> list[str]:
    address = f"syslog-address=tcp://127.0.0.1:{rsyslog.port}"
    words = [address, "tag={{.Name}}", *more]
    return ["--log-driver", "syslog", *(each for word in words for each in ("--log-opt", word))]


def write(agent, name: str, first: int, end: int) -> None:
    """The container's first process says the numbers from ``first`` up to ``end``."""
    loop = f"i={first}; while [ $i -lt {end} ]; do echo $i; i=$((i+1)); done > /proc/1/fd/1"
    agent.cli("exec", name, "sh", "-c", loop)


def metric(agent, name: str, container: str) -> float:
    for line in agent.space.fetch(f"http://{METRICS}/metrics").splitlines():
        if line.startswith(f"{name}{{") and f'name="{container}"' in line:
            return float(line.rpartition(" ")[2])
    return -1.0


def numbers(end: int) -> list[str]:
    return [str(n) for n in range(end)]


def test_no_line_is_lost_or_told_twice_whoever_dies(agent, rsyslog) -> None:
    agent.cli("run", "-d", "--name", "told", *options(rsyslog), "busybox", "sleep", "1000")
    write(agent, "told", 0, 500)
    wait_for(lambda: rsyslog.texts() == numbers(500))
    assert agent.say("logs", "--tail", "1", "told") == "499", "logs works with every driver"
    rsyslog.kill()
    write(agent, "told", 500, 1000)
    wait_for(lambda: metric(agent, "nodeagent_log_collector_up", "told") == 0)
    agent.kill()
    pid = agent_free_pid(agent)
    agent.start()
    assert agent.pid_of("told") == pid, "the program runs on"
    write(agent, "told", 1000, 1500)
    rsyslog.start()
    wait_for(lambda: len(rsyslog.texts()) >= 1500, WITHIN_S)
    assert rsyslog.texts() == numbers(1500)
    assert {row[1] for row in rsyslog.rows()} == {"told"}
    wait_for(lambda: metric(agent, "nodeagent_log_collector_up", "told") == 1)
    agent.replace()
    write(agent, "told", 1500, 1600)
    wait_for(lambda: len(rsyslog.texts()) >= 1600)
    assert rsyslog.texts() == numbers(1600)


def agent_free_pid(agent) -> int:
    """The first process of the one container, asked of the kernel: no agent runs."""
    procs = (agent.run_dir / "ctr").glob("*/pid")
    return int(next(procs).read_text())


def test_what_goes_at_its_end_ships_its_last_words(agent, rsyslog) -> None:
    agent.cli("run", "--rm", "--name", "short", *options(rsyslog), "busybox", "echo", "good bye")
    wait_for(lambda: rsyslog.texts() == ["good bye"])
    assert not agent.rows("container", "-a")


def test_a_dead_collector_holds_up_nobody_and_what_it_missed_is_told(agent, rsyslog) -> None:
    rsyslog.kill()
    wave = "while [ $i -lt $end ]; do echo line $i of the flood; i=$((i+1)); done; sleep 1.2"
    flood = f"i=0; for end in 5000 10000 15000 20000; do {wave}; done"
    small = ("max-size=64k", "max-file=2")
    agent.cli("run", "--name", "flood", *options(rsyslog, *small), "busybox", "sh", "-c", flood)
    state = agent.inspect("container", "flood")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0), "it ended by itself"
    assert agent.say("logs", "--tail", "1", "flood") == "line 19999 of the flood"
    rsyslog.start()
    wait_for(lambda: rsyslog.texts()[-1:] == ["line 19999 of the flood"], WITHIN_S)
    assert metric(agent, "nodeagent_log_ship_lost_files_total", "flood") > 0
    said = agent.say("events", "--since", "5m", "--until", "0s", "--format", "json")
    actions = [each["action"] for each in map(json.loads, said.splitlines())]
    assert {"log_collector_lost", "log_lost", "log_collector_back"} <= set(actions)
    got = [int(text.split()[1]) for text in rsyslog.texts()]
    assert got == sorted(set(got)), "in order, none twice"


def test_removing_does_not_wait_for_a_dead_collector(agent, rsyslog) -> None:
    rsyslog.kill()
    said = agent.say("run", "--rm", *options(rsyslog), "busybox", "echo", "unheard")
    assert said == "unheard"
    assert not agent.rows("container", "-a")


@contextmanager
def serving(server: Forward, count: int):
    task = threading.Thread(target=server.serve, args=(count,), kwargs={"drops": 1})
    task.start()
    try:
        yield
    finally:
        task.join()
        server.close()


def test_fluentd_is_sent_again_what_it_did_not_acknowledge(agent, tmp_path) -> None:
    path = tmp_path / "forward"
    words = ("fluentd-address=unix://" + str(path), "tag=app.{{.Name}}", "env=TIER")
    asked = ["--log-driver", "fluentd", *(each for word in words for each in ("--log-opt", word))]
    server = Forward(path)
    with serving(server, 3):
        agent.cli("run", "-d", "--name", "fl", "-e", "TIER=gold", *asked, "busybox", "seq", "3")
    assert [each["log"] for each in server.records] == ["1", "2", "3"]
    assert set(server.tags) == {"app.fl"}
    assert (server.records[0]["container_name"], server.records[0]["TIER"]) == ("/fl", "gold")


def test_wrong_options_make_nothing(agent) -> None:
    bad = ("--log-driver", "syslog", "--log-opt", "syslog-address=10.0.0.5:514")
    refused = agent.cli("create", *bad, "busybox", "true", check=False)
    assert refused.returncode
    assert "syslog-address" in refused.stderr
    assert not agent.rows("container", "-a")
