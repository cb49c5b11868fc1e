"""The cluster's authority is replaced while containers speak, and agents are killed and away.

Covers nodeagent/control/rotation.py
"""

import json
import time

import pytest

from nodeagent.cluster import ca
from tests.system.harness.cluster import open_hosts, pings, wait_for
from tests.system.nodeagent.cluster.test_cluster import known, make_network, run
from tests.system.nodeagent.cluster.test_managers import can_change, store_pids

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hosts(busybox_tar):
    """Two managers, a worker, and a host that is none yet."""
    with open_hosts(4, busybox_tar) as made:
        made.form("manager", "worker")
        make_network(type("First", (), {"agents": made.agents[:3]})(), "kept")
        run(made.agents[0], "k0", "kept")
        run(made.agents[2], "k2", "kept")
        wait_for(lambda: pings(made.agents[0], "k0", "k2"))
        yield made


def status(agent):
    return agent.say("cluster", "ca", "status")


def trusted(agent):
    return ca.digests_of((agent.root / "cluster" / "ca.crt").read_bytes())


def signer(agent):
    folder = agent.root / "cluster"
    return ca.signer_of((folder / "ca.crt").read_bytes(), (folder / "node.crt").read_bytes())


def is_done(agents, before):
    now = trusted(agents[0])
    return (
        len(now) == 1
        and now != before
        and all(trusted(each) == now == [signer(each)] for each in agents)
        and "3 of 3" in status(agents[0])
        and "Waits" not in status(agents[0])
    )


def test_a_new_authority_without_a_restart_or_a_lost_packet(hosts):
    agents = hosts.agents[:3]
    before, pids = trusted(agents[0]), [agent.pid for agent in agents]
    token = agents[0].say("cluster", "token", "worker")
    assert "founded with" in status(agents[2])
    agents[0].cli("exec", "-d", "k0", "sh", "-c", "ping -i 0.1 -w 120 k2 > /pings; echo > /end")
    assert "1 of 3" in agents[0].say("cluster", "ca", "rotate")
    assert "of 3" in agents[1].say("cluster", "ca", "rotate")  # the same one
    wait_for(lambda: is_done(agents, before), 90)
    assert [agent.pid for agent in agents] == pids
    assert all(can_change(agent) for agent in agents[:2])
    agents[0].cli("exec", "k0", "sh", "-c", "kill -INT $(pidof ping); sleep 1")
    assert " 0% packet loss" in agents[0].say("exec", "k0", "cat", "/pings")
    # who has a token of before is told so, and one of now lets in
    late, remote = hosts.agents[3], f"{hosts.lab.address(0)}:2377"
    said = late.cli("cluster", "join", "--token", token, remote, check=False)
    assert "before its rotation" in said.stderr
    token = agents[0].say("cluster", "token", "manager")
    late.cli("cluster", "join", "--token", token, remote)
    wait_for(lambda: known(late, "kept"))
    wait_for(lambda: can_change(late))
    assert store_pids(late)
    assert "Waits" not in status(late)


def test_it_waits_for_who_is_away_and_goes_on_after_kills(hosts):
    agents = hosts.agents[:3]
    before = trusted(agents[0])
    agents[2].kill()
    agents[0].cli("cluster", "ca", "rotate")
    own = json.loads((agents[2].root / "cluster" / "self.json").read_text())["node_id"]
    wait_for(lambda: status(agents[0]).count("(") == 1)  # the others have followed
    assert own[:12] in status(agents[0])
    assert "1 of 3" in status(agents[0])
    assert pings(agents[0], "k0", "k0")
    agents[2].start()
    for n, after_s in enumerate((0.1, 1.0, 2.5)):  # some moments on the way
        time.sleep(after_s)
        agents[n].kill()
        agents[n].start()
    wait_for(lambda: is_done(agents, before), 120)
    wait_for(lambda: pings(agents[0], "k0", "k2"))
    wait_for(lambda: can_change(agents[1]))


def test_only_managers_rotate(hosts):
    said = hosts.agents[2].cli("cluster", "ca", "rotate", check=False)
    assert "this is a worker" in said.stderr
    said = hosts.agents[3].cli("cluster", "ca", "rotate", check=False)
    assert "in no cluster" in said.stderr
    said = hosts.agents[0].cli("cluster", "ca", "turn", check=False)
    assert "cluster ca rotate" in said.stderr
