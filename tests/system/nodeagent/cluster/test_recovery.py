"""The store is lost: by more than half of its managers, or wholly; what runs goes on.

Covers nodeagent/control/clusterbackup.py, nodeagent/control/founding.py, nodeagent/control/beat.py
"""

import shutil
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.harness.cluster import open_hosts, pings, wait_for
from tests.system.nodeagent.cluster.test_cluster import known, make_network, names, node_id, run
from tests.system.nodeagent.cluster.test_managers import can_change, stop_store, store_pids
from tests.system.nodeagent.cluster.test_roles import has_become

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hosts(busybox_tar):
    """Three managers, each with a container on one network."""
    with open_hosts(3, busybox_tar) as made:
        made.form("manager", "manager")
        make_network(made, "kept")
        for n, agent in enumerate(made.agents):
            run(agent, f"k{n}", "kept")
        wait_for(lambda: names(made.agents[0], "kept") >= {"k0", "k1", "k2"})
        yield made


def reach_each_other(hosts, *numbers):
    for n in numbers:
        for other in numbers:
            agent = hosts.agents[n]
            wait_for(lambda agent=agent, other=other: pings(agent, f"k{n}", f"k{other}"))  # noqa: B023


def test_one_manager_goes_on_without_the_others_and_they_follow(hosts):
    first, second, third = hosts.agents
    assert "nothing to recover" in first.cli("cluster", "recover").stdout
    assert "nothing to recover" in first.cli("cluster", "recover", "--yes", check=False).stderr
    third.kill()
    stop_store(third, signal.SIGKILL)
    second.kill()
    stop_store(second, signal.SIGKILL)
    for agent in (second, third):
        shutil.rmtree(agent.root / "cluster" / "data")  # lost for ever
    wait_for(lambda: not can_change(first))
    said = first.say("cluster", "recover")
    assert "With --yes" in said
    assert "not heard" in said
    assert not can_change(first)  # it was only said
    first.cli("cluster", "recover", "--yes")
    wait_for(lambda: can_change(first))
    assert known(first, "kept")
    assert pings(first, "k0", "k0")
    assert sorted(row["Role"] for row in first.rows("node")) == ["manager", "worker", "worker"]
    first.kill()  # begun once, it does not begin again
    stop_store(first, signal.SIGKILL)
    first.start()
    wait_for(lambda: can_change(first))
    for agent in (second, third):
        agent.start()
        wait_for(has_become(agent, "worker"), 60)
    reach_each_other(hosts, 0, 1, 2)
    first.cli("node", "promote", node_id(second))
    wait_for(has_become(second, "manager"), 60)
    wait_for(lambda: can_change(second))
    run(first, "k3", "kept")  # no address is given twice
    addresses = {
        address
        for record in first.inspect("network", "kept")["DNSRecords"]
        for address in record["Addresses"]
    }
    assert len(addresses) == 4


@pytest.mark.parametrize("after_s", [0.05, 0.7])
def test_a_kill_during_recovery_is_mended(hosts, after_s):
    first, second, third = hosts.agents
    for agent in (second, third):
        agent.kill()
        stop_store(agent, signal.SIGKILL)
    wait_for(lambda: not can_change(first))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(first.cli, "cluster", "recover", "--yes", check=False)
        time.sleep(after_s)  # the moment is what is tried, nothing is waited for
        first.kill()
        asked.result()
    first.start()
    if after_s < 0.1 and not can_change(first):  # it had not begun
        first.cli("cluster", "recover", "--yes")
    wait_for(lambda: can_change(first), 60)
    second.start()
    wait_for(has_become(second, "worker"), 60)
    reach_each_other(hosts, 0, 1)


def test_a_cluster_is_restored_from_its_backup(hosts, tmp_path):
    first, second, third = hosts.agents
    file = tmp_path / "backup"
    assert "secrets" in first.say("cluster", "backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first.cli("network", "create", "-d", "overlay", "late")
    wait_for(lambda: known(third, "late"))
    said = second.cli("cluster", "restore", "--yes", str(file), check=False)
    assert "nothing to restore" in said.stderr
    for agent in hosts.agents:
        agent.kill()
        stop_store(agent, signal.SIGKILL)
        shutil.rmtree(agent.root / "cluster" / "data")
    first.start()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(file.read_bytes()[:-1])
    assert "checksum" in first.cli("cluster", "restore", "--yes", str(damaged), check=False).stderr
    said = first.say("cluster", "restore", str(file))
    assert "3 nodes, 1 networks, 3 endpoints" in said
    assert not can_change(first)  # it was only said
    first.cli("cluster", "restore", "--yes", str(file))
    wait_for(lambda: can_change(first))
    assert known(first, "kept")
    for agent in (second, third):
        agent.start()
        wait_for(has_become(agent, "worker"), 60)
    wait_for(lambda: not known(third, "late"))  # of after the backup
    reach_each_other(hosts, 0, 1, 2)
    run(second, "k3", "kept")
    wait_for(lambda: pings(first, "k0", "k3"))


def test_another_host_takes_the_place_of_all_managers(busybox_tar, tmp_path):
    """One manager and a worker; the manager's host is lost, and a new one has its address."""
    with open_hosts(2, busybox_tar) as hosts:
        hosts.form("worker")
        make_network(hosts, "kept")
        first, second = hosts.agents
        run(second, "k1", "kept")
        file = tmp_path / "backup"
        first.cli("cluster", "backup", str(file))
        first.kill()
        stop_store(first, signal.SIGKILL)
        shutil.rmtree(first.root / "cluster")
        (first.root / "network" / "wireguard.key").unlink(missing_ok=True)
        (first.root / "network" / "wireguard.pub").unlink(missing_ok=True)
        first.start()
        assert "inactive" in first.say("cluster", "info")
        first.cli("cluster", "restore", "--yes", "--advertise-addr", hosts.lab.address(0),
                  str(file))  # fmt: skip
        wait_for(lambda: can_change(first))
        run(first, "k0", "kept")
        wait_for(lambda: pings(first, "k0", "k1"), 60)
        wait_for(lambda: pings(second, "k1", "k0"))
        assert [row["Status"] for row in first.rows("node")].count("ready") == 2
        (gone,) = [row for row in first.rows("node") if row["Status"] == "down"]
        first.cli("node", "rm", gone["Id"].split()[0])
        assert store_pids(first)
        assert not (first.root / "cluster" / "founding.backup").exists()
