"""A node that is removed while it is up, one without its store, and what is left of a cluster."""

import os
import signal

import pytest

from tests.system.harness.cluster import open_hosts, pings, wait_for
from tests.system.nodeagent.cluster.test_cluster import known, make_network, run
from tests.system.nodeagent.cluster.test_managers import store_pids

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hosts(busybox_tar):
    with open_hosts(2, busybox_tar) as made:
        made.form("worker")
        yield made


def test_a_removed_node_is_spoken_to_no_more_and_its_agent_goes_on(hosts):
    first, second = hosts.agents
    make_network(hosts, "app")
    run(first, "a", "app")
    run(second, "b", "app")
    wait_for(lambda: pings(first, "a", "b"))
    own = second.say("node", "inspect", "self", "-f", "{{.Id}}")
    assert first.cli("node", "rm", own, check=False).returncode != 0  # it is up
    first.cli("node", "rm", "--force", own)
    wait_for(lambda: not pings(first, "a", "b"))
    wait_for(lambda: "refuse" in second.say("cluster", "info", "--format", "{{.Problem}}"))
    assert second.cli("exec", "b", "true").returncode == 0
    run(second, "local", "bridge")
    second.stop()  # it must start again, too
    second.start()
    assert second.cli("exec", "b", "true").returncode == 0
    second.cli("container", "rm", "-f", "b", "local")
    second.cli("cluster", "leave", "--force")
    assert not known(second, "app")
    token = first.say("cluster", "token", "worker")
    second.cli("cluster", "join", "--token", token, f"{hosts.lab.address(0)}:2377")
    wait_for(lambda: known(second, "app"))
    run(second, "b2", "app")
    wait_for(lambda: pings(first, "a", "b2"))


def test_an_agent_starts_without_its_store_and_takes_part_when_it_can(hosts):
    first = hosts.agents[0]
    run(first, "local", "bridge")
    make_network(hosts, "app")
    run(first, "a", "app")
    first.stop()
    data = first.root / "cluster" / "data"
    for pid in store_pids(first):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not store_pids(first))
    data.rename(data.with_name("elsewhere"))  # as on a disk that is not mounted yet
    data.write_text("in the way")
    first.start()
    assert first.cli("exec", "local", "true").returncode == 0
    assert first.cli("exec", "a", "true").returncode == 0
    said = first.cli("node", "ls", check=False)
    assert said.returncode != 0
    assert "has not been read" in said.stderr
    data.unlink()
    data.with_name("elsewhere").rename(data)
    wait_for(lambda: first.cli("node", "ls", check=False).returncode == 0, 60)


def test_the_last_manager_leaves_only_if_it_must(hosts):
    first, second = hosts.agents
    make_network(hosts, "app")
    said = first.cli("cluster", "leave", check=False)
    assert said.returncode != 0
    assert "last manager" in said.stderr
    second.cli("cluster", "leave")
    assert len(first.rows("node")) == 1
    first.cli("cluster", "leave", "--force")
    assert not known(first, "app")
    assert first.say("cluster", "info", "--format", "{{.State}}") == "inactive"
    first.cli("cluster", "init", "--advertise-addr", hosts.lab.address(0))
    assert len(first.rows("node")) == 1
