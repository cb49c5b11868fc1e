"""Volumes of several hosts: one writer at any time, whatever happens to its agent or its cable.

The writers note their epoch and the machine's clock with each line in one file that all hosts see,
and that file is what is judged.

Covers nodeagent/control/volumefence.py, nodeagent/cli/volumelease.py,
runtime/container/fencing.py
"""

import os
import random
import signal
import time

import pytest

from tests.system.harness.cluster import open_hosts, wait_for

pytestmark = pytest.mark.timeout(300)
LEASE_S = 8
SETTINGS = f"[cluster]\nvolume_lease_s = {LEASE_S}\n"
WRITE = "trap '' TERM; while :; do echo $NODEAGENT_VOLUME_EPOCH >> /d/log; usleep 20000; done"
POLITE = "while :; do echo $NODEAGENT_VOLUME_EPOCH >> /d/log; usleep 20000; done"


@pytest.fixture(scope="module")
def hosts(busybox_tar):
    """A manager and two workers."""
    with open_hosts(3, busybox_tar, settings=SETTINGS) as made:
        made.form("worker", "worker")
        yield made


@pytest.fixture
def shared(hosts, tmp_path):
    """A function that has every host know a volume in one directory; and where its log is."""
    tmp_path.chmod(0o777)

    def create(*flags):
        for agent in hosts.agents:
            agent.cli(
                "volume", "create", "--shared", "--opt", "type=none", "--opt", "o=bind",
                "--opt", f"device={tmp_path}", "--sharing", "onewriter", *flags, "db",
            )  # fmt: skip
        return tmp_path / "log"

    yield create
    for n, agent in enumerate(hosts.agents):
        hosts.lab.heal(n)
        os.kill(agent.pid, signal.SIGCONT)
    wait_for(lambda: all(hosts.ready(agent) == 3 for agent in hosts.agents), 60)
    for agent in hosts.agents:
        agent.cli("rm", "-f", "w", check=False)
    wait_for(lambda: leases(hosts.agents[0]) == [])
    for agent in hosts.agents:
        agent.remove_all()
    wait_for(lambda: hosts.agents[0].rows("volume", "--all") == [])
    wait_for(lambda: leases(hosts.agents[0]) == [])


def leases(agent):
    out = agent.cli("volume", "lease", "ls", "--format", "json").stdout
    return [line for line in out.splitlines() if line]


def write(agent, script=WRITE, check=True):
    words = ("run", "-d", "--name", "w", "-v", "db:/d", "busybox", "sh", "-c", script)
    return agent.cli(*words, check=check)


def grows(log):
    before = log.stat().st_size
    time.sleep(0.3)
    return log.stat().st_size > before


def get_over(agent):
    """Try until the node may write; the seconds that took."""

    def may():
        agent.cli("rm", "-f", "w", check=False)
        return write(agent, check=False).returncode == 0

    return wait_for(may, 60)


def check_log(log, changes):
    """Each epoch is one run of lines, and epochs rise."""
    assert len(read_runs(log)) == changes + 1


def read_runs(log):
    """Epochs in the order of their writing: none comes again."""
    epochs = [int(line) for line in log.read_text().splitlines()]
    runs = [e for n, e in enumerate(epochs) if n == 0 or epochs[n - 1] != e]
    assert runs == sorted(set(runs)), runs
    return runs


def test_a_second_writer_is_told_who_has_it(hosts, shared):
    log = shared()
    one, two, three = hosts.agents
    write(one)
    wait_for(lambda: log.exists() and grows(log))
    said = write(two, check=False)
    assert said.returncode != 0
    assert "w on node" in said.stderr
    two.cli("rm", "-f", "w")
    said = two.cli("volume", "rm", "db", check=False)
    assert said.returncode != 0
    assert "the volume is in use: w on node" in said.stderr
    reader = ("run", "--rm", "-v", "db:/d:ro", "busybox", "tail", "-n1", "/d/log")
    assert two.say(*reader).isdecimal()
    view = one.inspect("volume", "db")
    (lease,) = view["ClusterLeases"]
    assert lease["Status"] == "held"
    assert str(lease["Epoch"]) in log.read_text().split()
    assert 0 < lease["RenewWithinS"] <= LEASE_S / 2
    metrics = hosts.inside(0, "curl -fsS http://127.0.0.1:9323/metrics")
    assert "nodeagent_volume_leases 1" in metrics
    said = three.cli("volume", "lease", "break", "db", view["Leases"][0]["Node"], check=False)
    assert said.returncode != 0
    one.cli("rm", "-f", "w")
    assert get_over(three) < 5
    wait_for(lambda: grows(log))
    check_log(log, 1)


@pytest.mark.parametrize("policy", ["stop", "kill"])
def test_a_node_that_is_cut_off_stops_its_writer_first(hosts, shared, policy):
    log = shared("--on-lease-loss", policy)
    _, two, three = hosts.agents
    write(two)
    wait_for(lambda: log.exists() and grows(log))
    hosts.lab.cut(1)
    assert get_over(three) > LEASE_S / 2
    wait_for(lambda: grows(log))
    assert two.inspect("container", "w")["State"]["Running"] is False
    hosts.lab.heal(1)
    time.sleep(1)
    check_log(log, 1)
    said = two.say("events", "--since", "5m", "--until", str(time.time()))
    assert "volume lease-lost" in said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_writer_of_an_agent_that_does_nothing_is_stopped(hosts, shared, how):
    log = shared()
    _, two, three = hosts.agents
    write(two)
    wait_for(lambda: log.exists() and grows(log))
    if how == signal.SIGKILL:
        two.kill()
    else:
        os.kill(two.pid, how)
    get_over(three)
    time.sleep(1)
    if how == signal.SIGKILL:
        two.start()
    else:
        os.kill(two.pid, signal.SIGCONT)
    time.sleep(2)
    check_log(log, 1)
    wait_for(lambda: two.inspect("container", "w")["State"]["Running"] is False)


def test_a_short_absence_of_the_agent_costs_nothing(hosts, shared):
    log = shared()
    two = hosts.agents[1]
    write(two)
    wait_for(lambda: log.exists() and grows(log))
    two.kill()
    two.start()
    wait_for(lambda: hosts.ready(two) == 3)
    time.sleep(LEASE_S)
    assert grows(log)
    check_log(log, 0)


def test_a_paused_writer_goes_on_only_if_nobody_else_had_it(hosts, shared):
    log = shared("--on-lease-loss", "pause")
    _, two, three = hosts.agents
    write(two)
    wait_for(lambda: log.exists() and grows(log))
    hosts.lab.cut(1)
    wait_for(lambda: two.inspect("container", "w")["State"]["Paused"])
    time.sleep(LEASE_S)  # now the lease has ended, and nobody wanted it
    hosts.lab.heal(1)
    wait_for(lambda: grows(log))
    check_log(log, 0)
    hosts.lab.cut(1)
    wait_for(lambda: two.inspect("container", "w")["State"]["Paused"])
    get_over(three)
    hosts.lab.heal(1)
    wait_for(lambda: two.inspect("container", "w")["State"]["Running"] is False)
    wait_for(lambda: grows(log))
    check_log(log, 1)


def test_without_a_quorum_writers_stop_and_none_starts(hosts, shared):
    log = shared()
    one, two, _ = hosts.agents
    write(two, POLITE)
    wait_for(lambda: log.exists() and grows(log))
    hosts.lab.cut(0)  # the only manager, as two sees it
    wait_for(lambda: two.inspect("container", "w")["State"]["Running"] is False)
    assert not grows(log)
    two.cli("rm", "-f", "w")
    said = write(two, check=False)
    assert said.returncode != 0
    assert write(one, POLITE).returncode == 0 or "on node" in write(one, check=False).stderr
    hosts.lab.heal(0)


def test_a_broken_lease_stops_its_writer(hosts, shared):
    log = shared()
    one, two, three = hosts.agents
    write(two)
    wait_for(lambda: log.exists() and grows(log))
    ids = [row["Id"] for row in one.rows("node") if row["Address"] == hosts.lab.address(1)]
    said = one.cli("volume", "lease", "break", "db", ids[0], check=False)
    assert said.returncode != 0
    assert "may still write" in said.stderr
    assert one.say("volume", "lease", "break", "--force", "db", ids[0]) == "w"
    wait_for(lambda: two.inspect("container", "w")["State"]["Running"] is False, LEASE_S / 2)
    get_over(three)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_no_two_write(hosts, shared, seed):
    """Cables cut and healed, agents stopped, killed and started, all hosts want to write."""
    log = shared()
    dice = random.Random(seed)
    faults = (
        lambda n, _: hosts.lab.cut(n),
        lambda _, agent: os.kill(agent.pid, signal.SIGSTOP),
        lambda _, agent: agent.kill(),
    )
    for _ in range(4):
        for agent in hosts.agents:
            write_if_it_may(agent)
        wait_for(lambda: log.exists() and grows(log), 40)
        n = dice.choice((1, 2))
        agent = hosts.agents[n]
        dice.choice(faults)(n, agent)
        until_s = time.monotonic() + dice.uniform(0.5, 2.2) * LEASE_S
        while time.monotonic() < until_s:
            for other in hosts.agents:
                if other is not agent:
                    write_if_it_may(other)
        hosts.lab.heal(n)
        if agent.is_alive():
            os.kill(agent.pid, signal.SIGCONT)
        else:
            agent.start()
        wait_for(lambda: hosts.ready(hosts.agents[0]) == 3, 60)
    assert read_runs(log)


def write_if_it_may(agent):
    """Try once, unless its writer runs."""
    rows = agent.rows("container")
    if not rows:
        agent.cli("rm", "-f", "w", check=False)
        write(agent, check=False)
