"""Three managers: one is lost, two are lost, one comes back; what runs goes on."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.harness.cluster import open_hosts, pings, wait_for
from tests.system.nodeagent.cluster.test_cluster import known, make_network, run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def hosts(busybox_tar):
    with open_hosts(3, busybox_tar) as made:
        made.form("manager", "manager")
        yield made


def store_pids(agent):
    """Pids of the agent's own member."""
    sought = f"--data-dir={agent.root}/cluster/data".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and sought in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def stop_store(agent, number):
    for pid in store_pids(agent):
        os.kill(pid, number)


def can_change(agent):
    said = agent.cli("node", "update", "--label-add", "x=y", "self", check=False)
    print(said.stderr, end="")
    return said.returncode == 0


def test_each_manager_has_a_member_and_says_so(hosts):
    assert [row["Role"] for row in hosts.agents[2].rows("node")] == ["manager"] * 3
    assert all(len(store_pids(agent)) == 1 for agent in hosts.agents)
    assert all(can_change(agent) for agent in hosts.agents)


def test_a_member_that_dies_is_started_again_and_nobody_notices(hosts):
    (before,) = store_pids(hosts.agents[0])
    os.kill(before, signal.SIGKILL)
    assert wait_for(lambda: can_change(hosts.agents[1])) < 15
    wait_for(lambda: store_pids(hosts.agents[0]) not in ([], [before]))
    wait_for(lambda: can_change(hosts.agents[0]))


def test_the_agent_dies_and_its_member_does_not(hosts):
    before = store_pids(hosts.agents[1])
    hosts.agents[1].kill()
    assert store_pids(hosts.agents[1]) == before
    hosts.agents[1].start()
    assert store_pids(hosts.agents[1]) == before
    wait_for(lambda: can_change(hosts.agents[1]))


def test_one_manager_is_cut_off_and_the_others_go_on(hosts):
    make_network(hosts, "one")
    run(hosts.agents[1], "one-b", "one")
    hosts.lab.cut(0)
    try:
        wait_for(lambda: can_change(hosts.agents[1]))
        run(hosts.agents[2], "one-c", "one")
        wait_for(lambda: pings(hosts.agents[2], "one-c", "one-b"))
        said = hosts.agents[0].cli("network", "create", "-d", "overlay", "alone", check=False)
        assert said.returncode != 0
        assert "store does not answer" in said.stderr
        assert not known(hosts.agents[0], "alone")
    finally:
        hosts.lab.heal(0)
    wait_for(lambda: can_change(hosts.agents[0]), 60)


def test_without_a_quorum_running_work_goes_on_and_changes_are_refused(hosts):
    make_network(hosts, "two")
    run(hosts.agents[0], "two-a", "two")
    run(hosts.agents[1], "two-b", "two")
    wait_for(lambda: pings(hosts.agents[0], "two-a", "two-b"))
    for n in (1, 2):
        stop_store(hosts.agents[n], signal.SIGSTOP)
    try:
        said = hosts.agents[0].cli("network", "create", "-d", "overlay", "late", check=False)
        assert said.returncode != 0
        assert "does not answer" in said.stderr
        said = hosts.agents[0].cli("run", "-d", "--network", "two", "busybox", "true", check=False)
        assert said.returncode != 0  # no address can be claimed
        assert pings(hosts.agents[0], "two-a", "two-b")  # names and traffic
        # a container that has its address starts again
        hosts.agents[0].cli("restart", "-t", "0", "two-a")
        assert pings(hosts.agents[0], "two-a", "two-b")
        hosts.agents[0].kill()
        hosts.agents[0].start()
        assert pings(hosts.agents[0], "two-a", "two-b")
        hosts.agents[0].cli(
            "restart", "-t", "0", "two-a"
        )  # the others are known only to the kernel
        assert pings(hosts.agents[0], "two-a", "two-b")
        run(hosts.agents[0], "local", "bridge")  # what needs no other host works
    finally:
        for n in (1, 2):
            stop_store(hosts.agents[n], signal.SIGCONT)
    wait_for(lambda: can_change(hosts.agents[0]), 60)
    assert not known(hosts.agents[0], "late")
    wait_for(lambda: pings(hosts.agents[1], "two-b", "two-a"))


def test_a_manager_leaves_and_comes_back_as_another_node(hosts):
    third = hosts.agents[2]
    for name in third.say("container", "ls", "-aq").split():
        third.cli("container", "rm", "-f", name)
    third.cli("cluster", "leave")
    assert not (third.root / "cluster").exists()
    assert store_pids(third) == []
    wait_for(lambda: len(hosts.agents[0].rows("node")) == 2)
    assert third.cli("node", "ls", check=False).returncode != 0
    token = hosts.agents[0].say("cluster", "token", "manager")
    third.cli("cluster", "join", "--token", token, f"{hosts.lab.address(0)}:2377")
    wait_for(lambda: hosts.ready(hosts.agents[0]) == 3)
    wait_for(lambda: can_change(third))
