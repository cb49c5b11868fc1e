"""Agents that form a cluster, and networks that reach over it: what users do, and what they see.

Covers nodeagent/building.py, nodeagent/control/cluster.py, nodeagent/control/clusternets.py,
nodeagent/control/overlays.py, nodeagent/control/held.py, nodeagent/control/membership.py,
nodeagent/rpc/bindings/cluster.py
"""

import base64
import json
import shlex
import sys
import time

import msgspec
import pytest

from tests.system.harness.agent import CHECKOUT
from tests.system.harness.cluster import open_hosts, pings, wait_for

pytestmark = pytest.mark.timeout(300)
SECRET = "no-byte-of-this"


@pytest.fixture(scope="module")
def hosts(busybox_tar):
    """One manager, two workers."""
    with open_hosts(3, busybox_tar) as made:
        made.form("worker", "worker")
        yield made


@pytest.fixture
def clean(hosts):
    yield hosts
    for agent in hosts.agents:
        names = agent.say("container", "ls", "-aq").split()
        if names:
            agent.cli("container", "rm", "-f", *names)
    for name in [
        row["Name"] for row in hosts.agents[0].rows("network") if row["Scope"] == "cluster"
    ]:
        wait_for(
            lambda name=name: (
                hosts.agents[0].cli("network", "rm", name, check=False).returncode == 0
            )
        )


def known(agent, name):
    return any(row["Name"] == name for row in agent.rows("network"))


def names(agent, network):
    """Whose names lead somewhere."""
    records = agent.inspect("network", network)["DNSRecords"]
    return {each["Name"] for each in records if each["Ready"]}


def make_network(hosts, name, *flags):
    hosts.agents[0].cli("network", "create", "-d", "overlay", *flags, name)
    for agent in hosts.agents:
        wait_for(lambda agent=agent: known(agent, name))


def run(agent, name, network, *flags):
    agent.cli("run", "-d", "--name", name, "--network", network, *flags, "busybox", "sleep", "1000")


def test_nodes_are_listed_everywhere(hosts):
    for agent in hosts.agents:
        rows = agent.rows("node")
        assert [row["Role"] for row in rows].count("manager") == 1
        assert {row["Status"] for row in rows} == {"ready"}
        assert {row["Address"] for row in rows} == {hosts.lab.address(n) for n in range(3)}
        assert sum(row["IsSelf"] for row in rows) == 1


def test_containers_of_three_hosts_find_and_reach_each_other(clean):
    make_network(clean, "app")
    for n, name in enumerate("abc"):
        run(clean.agents[n], name, "app", "--network-alias", "any")
    for n, name in enumerate("abc"):
        for other in "abc":
            wait_for(lambda n=n, name=name, other=other: pings(clean.agents[n], name, other))
    (first,) = json.loads(clean.agents[0].say("network", "inspect", "app"))
    assert first["Scope"] == "cluster"
    assert len(first["Peers"]) == 2
    assert all(each["Encrypted"] and each["Endpoints"] == 1 for each in first["Peers"])
    assert all(0 <= each["HandshakeAge"] < 60 for each in first["Peers"])
    assert all(each["ReceivedBytes"] > 0 for each in first["Peers"])
    metrics = clean.inside(0, "curl -fsS http://127.0.0.1:9323/metrics")
    assert 'nodeagent_cluster_nodes{status="ready"} 3' in metrics
    assert 'nodeagent_overlay_remote_endpoints{network="app"} 2' in metrics
    assert metrics.count("nodeagent_encryption_handshake_age_seconds{") == 2
    addresses = clean.agents[1].say("exec", "b", "nslookup", "any").count("Address")
    assert addresses >= 4  # the server's, and three


def test_nothing_is_seen_on_the_wire(clean):
    make_network(clean, "app")
    run(clean.agents[0], "a", "app")
    run(clean.agents[1], "b", "app")
    wire = clean.capture(0, "udp")
    wait_for(lambda: pings(clean.agents[0], "a", "b", "-p", "ab"))
    clean.agents[1].cli("exec", "-d", "b", "sh", "-c", "nc -l -p 99 > /got")
    wait_for(
        lambda: (
            clean.agents[0]
            .cli("exec", "a", "sh", "-c", f"echo {SECRET} | nc -w 2 b 99", check=False)
            .returncode
            == 0
        )
    )
    wait_for(lambda: SECRET in clean.agents[1].say("exec", "b", "cat", "/got"))
    seen = wire.stop()
    assert ".51820: UDP" in seen
    assert ".4789" not in seen
    assert not wire.has(SECRET.encode(), b"\xab" * 16)
    wait_for(lambda: clean.agents[0].inspect("network", "app")["Peers"][0]["Proof"] == "sealed")
    assert 0 <= clean.agents[0].inspect("network", "app")["Peers"][0]["ProofAge"] < 30
    metrics = clean.inside(0, "curl -fsS http://127.0.0.1:9323/metrics")
    assert "nodeagent_encryption_proof_age_seconds{" in metrics
    assert 'nodeagent_encryption_clear_packets_total{direction="out"} 0' in metrics


def test_clear_packets_for_an_encrypted_network_are_refused_and_counted(clean):
    make_network(clean, "app")
    run(clean.agents[0], "a", "app")
    vni = 4097
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.sendto(bytes.fromhex('08000000{vni:06x}00') + bytes(60),"
        f" ('{clean.lab.address(0)}', 4789))"
    )
    clean.inside(1, f"{sys.executable} -c {shlex.quote(script)}")
    wait_for(lambda: clean.agents[0].inspect("network", "app")["ClearRefused"] == 1)
    assert clean.agents[0].inspect("network", "app")["ClearSent"] == 0


def test_an_unencrypted_network_is_so_only_if_asked_for(clean):
    make_network(clean, "plain", "--opt", "encrypted=false")
    run(clean.agents[0], "a", "plain")
    run(clean.agents[1], "b", "plain")
    wire = clean.capture(0, "udp port 4789")
    wait_for(lambda: pings(clean.agents[0], "a", "b"))
    assert "VXLAN" in wire.stop()


def test_a_network_is_on_a_host_only_while_it_has_a_container_there(clean):
    make_network(clean, "app")
    (view,) = json.loads(clean.agents[0].say("network", "inspect", "app"))
    link = f"br-{view['Id'][:12]}"
    assert link not in clean.inside(1, "ip link")
    run(clean.agents[1], "b", "app")
    assert link in clean.inside(1, "ip link")
    assert link not in clean.inside(2, "ip link")
    clean.agents[1].cli("rm", "-f", "b")
    wait_for(lambda: link not in clean.inside(1, "ip link"))


def test_no_address_is_given_twice(clean):
    make_network(clean, "app", "--subnet", "10.77.0.0/24")
    for n, agent in enumerate(clean.agents):
        for k in range(4):
            run(agent, f"c{n}{k}", "app")
    found = [
        agent.inspect("container", f"c{n}{k}")["NetworkSettings"]["Networks"]["app"]["IPAddress"]
        for n, agent in enumerate(clean.agents)
        for k in range(4)
    ]
    assert len(set(found)) == 12
    taken = clean.agents[2].cli(
        "run", "-d", "--network", "app", "--ip", found[0], "busybox", "true", check=False
    )
    assert taken.returncode != 0
    assert "in use" in taken.stderr


def test_a_stopped_container_leaves_the_names_of_all(clean):
    make_network(clean, "app")
    run(clean.agents[0], "a", "app")
    run(clean.agents[1], "b", "app")
    wait_for(lambda: pings(clean.agents[0], "a", "b"))
    clean.agents[1].cli("rm", "-f", "b")
    assert wait_for(lambda: "b" not in names(clean.agents[0], "app")) < 2


def test_a_network_in_use_elsewhere_is_not_removed(clean):
    make_network(clean, "app")
    run(clean.agents[2], "c", "app")
    said = clean.agents[0].cli("network", "rm", "app", check=False)
    assert said.returncode != 0
    assert "has containers on" in said.stderr


def test_only_managers_make_networks(clean):
    said = clean.agents[1].cli("network", "create", "-d", "overlay", "mine", check=False)
    assert said.returncode != 0
    assert "worker" in said.stderr
    assert not known(clean.agents[1], "mine")


def test_ports_and_the_outside_work_on_an_overlay(clean):
    make_network(clean, "app")
    run(clean.agents[1], "b", "app", "-p", "0.0.0.0:8080:80")
    clean.agents[1].cli("exec", "-d", "b", "sh", "-c", "echo hello > /index.html; httpd -h /")
    url = f"http://{clean.lab.address(1)}:8080/"
    wait_for(lambda: "hello" in clean.lab.sh(clean.lab.router, f"curl -s -m 2 {url} || true"))
    assert pings(clean.agents[1], "b", "10.200.1.1")


def test_the_agent_is_killed_and_traffic_goes_on(clean):
    make_network(clean, "app")
    run(clean.agents[0], "a", "app")
    run(clean.agents[1], "b", "app")
    wait_for(lambda: pings(clean.agents[0], "a", "b"))
    clean.agents[1].kill()
    assert pings(clean.agents[0], "a", "b")
    clean.agents[1].start()
    assert pings(clean.agents[1], "b", "a")
    run(clean.agents[1], "b2", "app")
    wait_for(lambda: pings(clean.agents[0], "a", "b2"))


def test_a_node_that_is_cut_off_leaves_the_names(clean):
    make_network(clean, "app")
    run(clean.agents[0], "a", "app")
    run(clean.agents[2], "c", "app")
    wait_for(lambda: pings(clean.agents[0], "a", "c"))
    clean.lab.cut(2)
    try:
        assert wait_for(lambda: "c" not in names(clean.agents[0], "app")) < 10
        down = [row for row in clean.agents[0].rows("node") if row["Status"] == "down"]
        assert [row["Address"] for row in down] == [clean.lab.address(2)]
        # what runs there runs on, and is asked as before
        assert clean.agents[2].cli("exec", "c", "true").returncode == 0
    finally:
        clean.lab.heal(2)
    wait_for(lambda: pings(clean.agents[0], "a", "c"), 60)


def test_bad_joins_are_refused_and_leave_nothing(hosts, busybox_tar):
    first = hosts.agents[0]
    good = first.say("cluster", "token", "worker")
    for token, why in (
        ("x", "not a join token"),
        (good[:-1], "copied whole"),
        (good[:-4] + "0000", "rotated"),
        (f"NAT-1-{'0' * 64}-{good.rpartition('-')[2]}", "not of the cluster"),
    ):
        with open_hosts(1, busybox_tar) as alone:
            remote = f"{alone.lab.address(0)}:2377"  # nobody is there
            said = alone.agents[0].cli("cluster", "join", "--token", token, remote, check=False)
            assert said.returncode != 0
            assert not (alone.agents[0].root / "cluster").exists()
            if why in {"not a join token", "copied whole"}:
                assert why in said.stderr
            else:
                assert "no answer" in said.stderr
    said = first.cli("cluster", "init", check=False)
    assert "in a cluster already" in said.stderr


def etcdctl(hosts, n, *words):
    """What the store says to a client of other authors with the certificate of node ``n``."""
    folder = hosts.agents[n].root / "cluster"
    flags = (f"--endpoints=https://{hosts.lab.address(0)}:2379 --cacert={folder}/ca.crt"
             f" --cert={folder}/node.crt --key={folder}/node.key")  # fmt: skip
    return hosts.inside(n, f"ETCDCTL_API=3 etcdctl {flags} {' '.join(words)} 2>&1 || true")


def node_id(agent):
    return json.loads((agent.root / "cluster" / "self.json").read_text())["node_id"]


def test_a_worker_has_no_right_to_what_is_not_its_own(hosts):
    """With its own certificate, at the store itself: secrets, other nodes, networks not entered."""
    own, other = node_id(hosts.agents[1]), node_id(hosts.agents[0])
    for words in (
        ("get", "/nodeagent/secret/ca"),
        ("get", "--prefix", "/nodeagent/secret/"),
        ("put", f"/nodeagent/node/{other}/self", "x"),
        ("put", f"/nodeagent/node/{own}/spec", "x"),
        ("put", "/nodeagent/network/x", "x"),
        ("user", "add", "--no-password", "evil"),
    ):
        assert "permission denied" in etcdctl(hosts, 1, *words), words
    assert "permission denied" not in etcdctl(hosts, 1, "get", f"/nodeagent/node/{own}/self")


def test_what_a_hostile_node_writes_harms_no_other(clean):
    """Into all that it may write: its own row, endpoints and addresses of a network it is on."""
    make_network(clean, "hostile")
    network = clean.agents[0].inspect("network", "hostile")["Id"]
    for n in range(3):
        run(clean.agents[n], f"h{n}", "hostile")
    wait_for(lambda: pings(clean.agents[0], "h0", "h2"))
    own = node_id(clean.agents[1])
    (subnet,) = clean.agents[0].inspect("network", "hostile")["IPAM"]["Config"]
    gateway = {"container": "h0", "mac": "02:00:00:00:00:66", "names": ["h0", "h2"],
               "addresses": [subnet["Gateway"]]}  # fmt: skip
    for key, value in {
        f"node/{own}/self": b"garbage",
        f"ep/{network}/{own}/x": b"garbage",
        f"ep/{network}/{own}/": b"",
        f"ep/{network}/{own}/gateway": msgspec.msgpack.encode(gateway),
        f"addr/{network}/garbage": b"garbage",
        f"addr/{network}/": b"",
    }.items():
        raw = base64.b64encode(value).decode()
        said = etcdctl(clean, 1, "put", f"/nodeagent/{key}", f'"$(echo {raw} | base64 -d)"')
        assert "OK" in said, said
    run(clean.agents[0], "h3", "hostile")
    wait_for(lambda: pings(clean.agents[2], "h2", "h3"))
    assert names(clean.agents[2], "hostile") >= {"h0", "h2", "h3"}
    for each in clean.agents:
        assert each.inspect("network", "hostile")
        assert len(each.rows("node")) == 3


def test_labels_and_events(hosts):
    first = hosts.agents[0]
    since = time.time()
    name = first.rows("node")[0]["Id"]
    first.cli("node", "update", "--label-add", "disk=ssd", name.split()[0])
    assert any("disk" in row["Labels"] for row in first.rows("node"))
    said = first.say("events", "--since", str(since), "--until", str(time.time() + 1))
    assert "node update" in said


def test_certificates_are_renewed_without_a_restart(hosts):
    for n, role in ((0, "manager"), (1, "worker")):
        agent, port = hosts.agents[n], 2377
        folder = agent.root / "cluster"
        before, key = (folder / "node.crt").read_bytes(), (folder / "node.key").read_bytes()
        agent.cli("cluster", "renew")
        after = (folder / "node.crt").read_bytes()
        assert after != before
        assert (folder / "node.key").read_bytes() == key
        served = hosts.inside(
            1 - n,
            f"openssl s_client -connect {hosts.lab.address(n)}:{port} -tls1_3 </dev/null 2>&1",
        )
        assert after.decode().split("\n")[1] in served
        assert f"OU = {role}" in served or f"OU={role}" in served
        wait_for(lambda: hosts.ready(hosts.agents[0]) == len(hosts.agents))


def test_a_program_elsewhere_works_by_tcp_in_its_role(hosts, tmp_path):
    first, address = hosts.agents[0], hosts.lab.address(0)

    def by(role, command, given=""):
        """What it prints and says on another host."""
        folder = tmp_path / role
        if not folder.exists():
            first.cli("cluster", "cert", f"ci-{role}", "--role", role, "--out", str(folder))
        flags = f"--tlscacert={folder}/ca.pem --tlscert={folder}/cert.pem --tlskey {folder}/key.pem"
        return hosts.inside(
            1,
            f"cd {CHECKOUT}; printf %s {shlex.quote(given)} | {sys.executable} -m nodeagent"
            f" --host tcp://{address}:2377 {flags} {command} 2>&1 && echo [good] || echo [bad]",
        )

    run(first, "box", "none")
    assert " box" in by("reader", "ps")
    said = by("reader", "rm -f box")
    assert "container.rm needs the role operator; client-ci-reader has reader" in said
    assert by("operator", "exec -i box cat", "through the wire") == "through the wire[good]\n"
    assert "needs the role admin" in by("operator", "node rm x")
    assert by("operator", "rm -f box") == "box\n[good]\n"
    audited = first.say("system", "audit", "--method", "container.rm", "--since", "5m")
    assert "client-ci-reader (reader at" in audited
    assert "container.rm: refused" in audited
    assert "client-ci-operator (operator at" in audited
    assert "container.rm box: ok" in audited
