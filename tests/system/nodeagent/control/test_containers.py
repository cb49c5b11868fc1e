"""Requests that cannot be: a clear error that names the field, and nothing changed."""

import pytest

from nodeagent.rpc.errors import RpcError
from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

BAD: dict[str, tuple[dict[str, object], str, str]] = {
    "unknown image": ({"image": "nope"}, "missing", "nope"),
    "bad name": ({"name": "a b"}, "invalid", "name"),
    "unknown field": ({"colour": "red"}, "invalid", "colour"),
    "wrong type": ({"tty": "yes"}, "invalid", "tty"),
    "unknown network": ({"network_mode": "nowhere"}, "missing", "nowhere"),
    "bad host address": (
        {"ports": [{"container_port": 80, "host_ip": "x"}]}, "invalid", "host_ip"),
    "port out of range": ({"ports": [{"container_port": 70000}]}, "invalid", "container_port"),
    "ports without a network": (
        {"ports": [{"container_port": 80}], "network_mode": "none"}, "invalid", "ports"),
    "relative mount": (
        {"mounts": [{"type": "volume", "target": "x"}]}, "invalid", "mounts[0].target"),
    "unknown volume driver": (
        {"mounts": [{"type": "volume", "source": "v", "target": "/x", "volume_driver": "z"}]},
        "invalid", "driver"),
    "address on the wrong network": (
        {"networks": {"bridge": {"ip": "10.255.0.1"}}}, "invalid", "ip"),
    "alias on the default network": (
        {"networks": {"bridge": {"aliases": ["x"]}}}, "invalid", "aliases"),
    "too little memory": ({"memory_bytes": 1}, "invalid", "memory_bytes"),
    "a novel": ({"name": "x" * 300}, "invalid", "name"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_requests(shared_agent: Agent, what: str) -> None:
    fields, kind, says = BAD[what]
    before = shared_agent.snapshot()
    with open_sync_client(shared_agent.host) as client:
        with pytest.raises(RpcError) as caught:
            client.call("container.create", {"image": "busybox", "cmd": ["true"]} | fields)
        assert caught.value.kind == kind
        assert says in f"{caught.value} {caught.value.fields}"
        assert client.call("container.ls", {"all": True}) == []
        assert client.call("volume.ls", {}) == []
    shared_agent.expect(before)


def test_filters(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "up", "--label", "a=b", "busybox", "sleep", "1000")
    agent.cli("run", "--name", "done", "busybox", "true")

    def names(*args: str) -> list[str]:
        return sorted(row["Names"] for row in agent.rows("container", *args))

    assert names() == ["up"]
    assert names("-a") == ["done", "up"]
    assert names("--filter", "status=exited") == ["done"]
    assert names("--filter", "label=a=b") == ["up"]
    assert names("-a", "--filter", "ancestor=busybox") == ["done", "up"]
    assert names("-a", "--filter", "network=bridge") == ["done", "up"]
    assert agent.cli("ps", "--filter", "colour=red", check=False).returncode == 1


def test_sizes_and_a_prune_that_is_choosy(shared_agent: Agent) -> None:
    agent = shared_agent
    write = ("busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=2; sync")
    agent.cli("run", "--name", "big", "--label", "keep=no", *write)
    agent.cli("run", "--name", "kept", "--label", "keep=yes", "busybox", "true")
    own, whole = map(
        int, agent.say("inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "big").split()
    )
    assert 2 << 20 <= own < 3 << 20 < whole
    (row,) = agent.rows("container", "-a", "-s", "--filter", "name=big")
    assert (row["SizeRw"], row["SizeRootFs"]) == (own, whole)
    assert "SizeRw" not in agent.rows("container", "-a")[0]

    def prune(*filters: str) -> str:
        return agent.say("container", "prune", "-f", *(f"--filter={each}" for each in filters))

    bad = agent.cli("container", "prune", "-f", "--filter", "until=soon", check=False)
    assert (bad.returncode, "filters.until" in bad.stderr) == (1, True)
    assert "Deleted" not in prune("until=1h")
    gone = prune("until=0s", "label!=keep=yes")
    assert str(row["ID"]) in gone
    assert "reclaimed space: 2." in gone
    assert [row["Names"] for row in agent.rows("container", "-a")] == ["kept"]
    prune("label=keep")
    assert agent.rows("container", "-a") == []
