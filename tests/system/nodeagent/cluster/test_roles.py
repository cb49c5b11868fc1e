"""Workers become managers and managers workers, while containers run, and agents are killed.

Covers nodeagent/control/standing.py, nodeagent/control/storemember.py
"""

import json
import os
import signal
import time

import pytest

from tests.system.harness.cluster import open_hosts, pings, wait_for
from tests.system.nodeagent.cluster.test_cluster import make_network, names, node_id, run
from tests.system.nodeagent.cluster.test_managers import can_change, stop_store, store_pids

pytestmark = pytest.mark.timeout(300)
LAST = "this is the last manager"


@pytest.fixture(scope="module")
def hosts(busybox_tar):
    """One manager, two workers, each with a container on one network."""
    with open_hosts(3, busybox_tar) as made:
        made.form("worker", "worker")
        make_network(made, "roles")
        for n, agent in enumerate(made.agents):
            run(agent, f"r{n}", "roles")
        yield made


def role_of(agent):
    return json.loads((agent.root / "cluster" / "self.json").read_text())["role"]


def has_become(agent, role):
    return lambda: (
        role_of(agent) == role and bool(store_pids(agent)) == (role == "manager") and ready(agent)
    )


def ready(agent):
    said = json.loads((agent.root / "cluster" / "self.json").read_text())
    return said["phase"] == "ready" and not agent.say("cluster", "info", "--format", "{{.Problem}}")


def reach_each_other(hosts):
    for n, agent in enumerate(hosts.agents):
        for other in range(3):
            wait_for(lambda agent=agent, n=n, other=other: pings(agent, f"r{n}", f"r{other}"))


def let_be(hosts, *roles):
    """Each test begins with roles of its own; whoever is to be a manager becomes it first."""
    for role, verb in (("manager", "promote"), ("worker", "demote")):
        for n, agent in enumerate(hosts.agents):
            by = next(each for each in hosts.agents if role_of(each) == "manager")
            if roles[n] == role and role_of(agent) != role:
                by.cli("node", verb, node_id(agent))
                wait_for(has_become(agent, role))
    for n, agent in enumerate(hosts.agents):
        if roles[n] == "manager":
            wait_for(lambda agent=agent: can_change(agent))


def test_the_last_manager_is_not_demoted_and_workers_demote_nobody(hosts):
    let_be(hosts, "manager", "worker", "worker")
    said = hosts.agents[0].cli("node", "demote", "self", check=False)
    assert LAST in said.stderr
    said = hosts.agents[1].cli("node", "promote", "self", check=False)
    assert "this is a worker" in said.stderr
    said = hosts.agents[0].cli("node", "promote", "nobody", check=False)
    assert "no such node" in said.stderr
    assert [role_of(agent) for agent in hosts.agents] == ["manager", "worker", "worker"]


def test_workers_become_managers_and_the_first_one_may_go(hosts):
    let_be(hosts, "manager", "worker", "worker")
    first, second, third = hosts.agents
    said = first.cli("node", "promote", node_id(second))
    assert "2 managers" in said.stderr  # an even number
    wait_for(has_become(second, "manager"))
    assert first.cli("node", "promote", node_id(third)).stderr == ""
    wait_for(has_become(third, "manager"))
    assert [row["Role"] for row in third.rows("node")] == ["manager"] * 3
    stop_store(first, signal.SIGSTOP)  # more than half of them are left
    try:
        wait_for(lambda: can_change(second))
        wait_for(lambda: can_change(third))
    finally:
        stop_store(first, signal.SIGCONT)
    reach_each_other(hosts)


def test_a_manager_demotes_itself_and_works_on(hosts):
    let_be(hosts, "manager", "manager", "manager")
    first, second, _ = hosts.agents
    first.cli("node", "demote", "self")
    wait_for(has_become(first, "worker"))
    assert not (first.root / "cluster" / "data").exists()
    said = first.cli("network", "create", "-d", "overlay", "x", check=False)
    assert "this is a worker" in said.stderr
    wait_for(lambda: can_change(second))
    run(first, "r3", "roles")  # it asks for the rights of a worker
    wait_for(lambda: names(second, "roles") >= {"r0", "r1", "r2", "r3"})
    first.cli("rm", "-f", "r3")
    wait_for(lambda: "r3" not in names(second, "roles"))
    reach_each_other(hosts)


@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.5])
def test_kills_on_the_way_are_mended(hosts, after_s):
    """Of who changes its role, at some moment on the way there and back."""
    let_be(hosts, "worker", "manager", "worker")
    first, second, _ = hosts.agents
    for role, verb in (("manager", "promote"), ("worker", "demote")):
        second.cli("node", verb, node_id(first))
        time.sleep(after_s)  # the moment is what is tried, nothing is waited for
        first.kill()
        first.start()
        wait_for(has_become(first, role), 60)
        wait_for(lambda: can_change(second))
    reach_each_other(hosts)


def test_who_was_away_when_its_role_changed_follows_when_it_is_back(hosts):
    let_be(hosts, "worker", "manager", "manager")
    first, second, third = hosts.agents
    first.kill()
    second.cli("node", "promote", node_id(first))
    first.start()
    wait_for(has_become(first, "manager"), 60)
    third.kill()
    for pid in store_pids(third):
        os.kill(pid, signal.SIGKILL)
    second.cli("node", "demote", node_id(third))
    wait_for(lambda: can_change(second))
    third.start()
    wait_for(has_become(third, "worker"), 60)
    reach_each_other(hosts)
