"""What the verbs of the nouns ask for and print.

Covers nodeagent/cli/image.py, nodeagent/cli/volume.py, nodeagent/cli/objects.py,
nodeagent/cli/prune.py, nodeagent/cli/rpc.py.
"""

import io
import json

import pytest

from tests.fakes.agent import Failure

IMAGE_ROW = {
    "ID": "sha256:0123456789abcdef", "Repository": "busybox", "Tag": "latest",
    "Digest": "sha256:d", "CreatedAt": "x", "CreatedSince": "2 days ago", "Size": "4MB",
    "SizeBytes": 4, "Containers": 0,
}  # fmt: skip


def _step(status, total=0):
    return {"layer": "a", "status": status, "current_bytes": 0, "total_bytes": total}


def _pull(call):
    call.send(_step("Downloading", 9))
    call.send(_step("Pull complete"))
    return {"Id": "sha256:1", "ManifestDigest": "sha256:2", "IndexDigest": "sha256:3"}


def _load(call):
    assert call.all_input() == b"archive"
    call.send(_step("Loading"))
    return {"images": ["busybox:latest", "sha256:9"]}


def _import(call):
    assert call.all_input() == b"archive"
    return {"Id": "sha256:1"}


def _events(call):
    call.send({"time_ns": 1, "type": "container", "action": "start", "id": "a", "name": "web",
               "attributes": {"image": "x"}})  # fmt: skip
    return {}


def _audit(call):
    assert call.params["who"] == "ci"
    call.send({"time": "2027-01-15T07:50:00Z", "who": "client-ci", "role": "operator",
               "address": "192.0.2.7", "method": "network.rm", "target": "web",
               "outcome": "ok"})  # fmt: skip
    return {}


def _missing(call):
    return Failure("missing", f"none of that name: {call.params['names'][0]}")


def _only(name):
    def inspect(call):
        return [{"Name": name}] if call.params["names"] == [name] else _missing(call)

    return inspect


@pytest.fixture
def agent(agent_of):
    pruned = {"Deleted": ["x"], "SpaceReclaimed": 1000}
    return agent_of(
        {
            "image.ls": [IMAGE_ROW],
            "image.pull": _pull,
            "image.load": _load,
            "image.import": _import,
            "image.tag": {},
            "image.rm": {"Untagged": ["busybox:latest"], "Deleted": ["sha256:1"]},
            "image.history": [{"ID": "sha256:0123456789abcdef", "CreatedAt": "",
                               "CreatedSince": "now",
                               "CreatedBy": "x" * 60, "Size": "0B", "SizeBytes": 0, "Comment": ""}],
            "container.inspect": _missing,
            "image.inspect": _missing,
            "network.inspect": _only("demo"),
            "volume.inspect": _only("data"),
            "network.create": {"id": "n1", "name": "demo", "warnings": []},
            "network.ls": [{"ID": "0123456789abcdef", "Name": "demo", "Driver": "bridge",
                            "Scope": "local", "Internal": False, "CreatedAt": "", "Labels": ""}],
            "network.connect": {},
            "network.disconnect": {},
            "network.rm": {},
            "network.plan": {"ops": []},
            "network.audit": {"leaks": [], "others": {"east": 3}},
            "network.check": {"ops": [], "conflicts": []},
            "network.repair": {"ops": ["add link br-1"], "conflicts": ["link eth0 is not ours"]},
            "volume.create": {"Name": "data"},
            "volume.rm": {"Name": "", "Of": "data", "Method": "delete"},
            "volume.ls": [{"Name": "data", "Driver": "local", "Mountpoint": "/m", "Scope": "local",
                           "Labels": "", "Links": 0, "Status": "ok"}],
            "container.prune": pruned, "network.prune": pruned, "image.prune": pruned,
            "volume.prune": pruned,
            "container.top": {"titles": ["PID", "CMD"], "processes": [["1", "sh"]]},
            "container.stats": _stats,
            "container.logs": _logs,
            "system.info": {"ID": "i", "ServerVersion": "1", "NCPU": 2, "MemTotal": 1 << 30,
                            "MetricsAddress": "127.0.0.1:9323", "Warnings": ["no swap"]},
            "system.version": {"Version": "1", "ApiVersion": "1"},
            "system.df": [{"Type": "Images", "TotalCount": 2, "Active": 1, "Size": 4000,
                           "Reclaimable": 1000}],
            "system.events": _events,
            "system.audit": _audit,
            "system.ping": {},
            "rpc.describe": {"protocol": "msgpack-rpc", "version": "1",
                             "methods": [{"name": "system.ping", "doc": "Answer.",
                                          "changes": False, "role": "reader"}]},
        }
    )  # fmt: skip


READING = {
    "ID": "0123456789abcdef", "Name": "web", "Read": "", "CpuPercent": 1.5, "CpuNs": 1,
    "MemoryBytes": 1 << 20, "MemoryLimitBytes": 1 << 30, "MemoryPercent": 0.1, "Pids": 3,
    "NetworkRxBytes": 1000, "NetworkTxBytes": 0, "BlockReadBytes": -1, "BlockWriteBytes": -1,
}  # fmt: skip


def _stats(call):
    call.send(READING)
    return {}


def _logs(call):
    call.send({"stream": "stdout", "time_ns": 1_000_000_001, "data": b"one\n"})
    call.send({"stream": "stderr", "time_ns": 2_000_000_000, "data": b"two\n"})
    return {}


@pytest.mark.parametrize(
    ("argv", "out"),
    [
        (["images"], "REPOSITORY   TAG       IMAGE ID       CREATED      SIZE\n"
                     "busybox      latest    0123456789ab   2 days ago   4MB\n"),
        (["image", "ls", "-q"], "0123456789ab\n"),
        (["images", "--format", "{{.Repository}}:{{.Tag}}"], "busybox:latest\n"),
        (["pull", "busybox"], "a: Downloading\na: Pull complete\nDigest: sha256:3\n"
                              "Status: Downloaded newer image for busybox\nbusybox\n"),
        (["pull", "-q", "busybox"], "busybox\n"),
        (["rmi", "busybox"], "Untagged: busybox:latest\nDeleted: sha256:1\n"),
        (["tag", "a", "b"], ""),
        (["history", "-q", "busybox"], "0123456789ab\n"),
        (["network", "create", "demo"], "n1\n"),
        (["network", "ls"], "NETWORK ID     NAME      DRIVER    SCOPE\n"
                            "0123456789ab   demo      bridge    local\n"),
        (["network", "rm", "demo", "b"], "demo\nb\n"),
        (["network", "connect", "demo", "web"], ""),
        (["network", "disconnect", "-f", "demo", "web"], ""),
        (["network", "plan"], "nothing to change\n"),
        (["network", "audit"], "other agent: 3 links and tables bear the mark of east\n"
         "nothing of ours is nobody's\n"),
        (["network", "check"], "all is as wanted\n"),
        (["network", "repair", "demo"], "add link br-1\n! link eth0 is not ours\n"),
        (["volume", "create", "data"], "data\n"),
        (["volume", "rm", "data"], "data\n"),
        (["volume", "ls"], "DRIVER    VOLUME NAME   STATUS\nlocal     data          ok\n"),
        (["volume", "ls", "-q"], "data\n"),
        (["volume", "prune", "-f"], "Deleted Volumes:\nx\n\nTotal reclaimed space: 1kB\n"),
        (["image", "prune", "-af"], "Deleted Images:\nx\n\nTotal reclaimed space: 1kB\n"),
        (["top", "web"], "PID       CMD\n1         sh\n"),
        (["logs", "web"], "one\n"),
        (["system", "ping"], "OK\n"),
        (["info"], "ID: i\nServer Version: 1\nNCPU: 2\nMem Total: 1GiB\n"
                   "Metrics Address: 127.0.0.1:9323\nWARNING: no swap\n"),
        (["system", "df"], "TYPE      TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"
                           "Images    2         1         4kB       1kB (25%)\n"),
        (["events"], "1970-01-01T00:00:00.000000001Z container start a (image=x, name=web)\n"),
        (["system", "audit", "--who", "ci"],
         "2027-01-15T07:50:00Z client-ci (operator at 192.0.2.7) network.rm web: ok\n"),
        (["rpc", "describe"], "METHOD        CHANGES   ROLE      WHAT IT DOES\n"
                              "system.ping   false     reader    Answer.\n"),
        (["stats", "--no-stream", "--format", "{{.ID}} {{.CPUPerc}} {{.MemUsage}} {{.BlockIO}}"],
         "0123456789ab 1.50% 1MiB / 1GiB -- / --\n"),
        (["inspect", "-f", "{{.Name}}", "demo", "data"], "demo\ndata\n"),
    ],
)  # fmt: skip
def test_what_is_printed(agent, cli, argv, out):
    said = cli(agent, *argv)
    assert (said.code, said.out) == (0, out)


@pytest.mark.parametrize(
    "argv",
    [["system", "info"], ["version"], ["system", "df"], ["events"], ["images"], ["history", "x"],
     ["network", "ls"], ["volume", "ls"], ["rpc", "describe"], ["top", "web"],
     ["stats", "--no-stream"],
     ["network", "inspect", "demo"], ["inspect", "data"]],
)  # fmt: skip
def test_json_everywhere(agent, cli, argv):
    said = cli(agent, *argv, "--format", "json")
    assert said.code == 0
    parsed = json.loads(said.out)
    assert isinstance(parsed, list if "inspect" in argv else dict)


def test_inspect_prints_what_it_found_and_fails(agent, cli):
    said = cli(agent, "inspect", "demo", "nope")
    assert (said.code, json.loads(said.out)) == (1, [{"Name": "demo"}])
    assert said.err == "nodeagent: no container, image, network or volume is called 'nope'\n"
    asked = [name for name, params in agent.calls if params == {"names": ["nope"]}]
    assert asked == ["container.inspect", "image.inspect", "network.inspect", "volume.inspect"]


def test_inspect_of_nothing_is_an_empty_array(agent, cli):
    said = cli(agent, "container", "inspect", "nope")
    assert (said.code, json.loads(said.out)) == (1, [])


@pytest.mark.parametrize(
    ("argv", "out"),
    [
        (["load", "-q", "-i", "FILE"], "Loaded image: busybox:latest\nLoaded image ID: sha256:9\n"),
        (["import", "-c", 'CMD ["sh"]', "FILE", "mine:v1"], "sha256:1\n"),
    ],
)
def test_archives(agent, cli, tmp_path, argv, out):
    path = tmp_path / "archive.tar"
    path.write_bytes(b"archive")
    said = cli(agent, *[str(path) if word == "FILE" else word for word in argv])
    assert (said.code, said.out) == (0, out)


def test_import_says_what_was_asked(agent, cli, tmp_path):
    (tmp_path / "a").write_bytes(b"archive")
    cli(agent, "import", "-c", 'CMD ["sh"]', "-m", "why", str(tmp_path / "a"), "mine:v1")
    wanted = {"cmd": ["sh"], "ref": "mine:v1", "message": "why", "window": 64}
    assert agent.params_of("image.import") == [wanted]


def test_an_archive_that_is_not_there(agent, cli):
    said = cli(agent, "load", "-i", "/nowhere.tar")
    assert (said.code, said.err) == (
        1,
        "nodeagent: cannot read /nowhere.tar: No such file or directory\n",
    )


def test_connect_asks(agent, cli):
    cli(agent, "network", "connect", "--alias", "db", "--ip", "10.0.0.5", "demo", "web")
    assert agent.params_of("network.connect") == [
        {"network": "demo", "container": "web", "endpoint": {"ip": "10.0.0.5", "aliases": ["db"]}}
    ]


def test_connect_passes_the_priority_on_as_it_is(agent, cli):
    cli(agent, "network", "connect", "--gw-priority", "-5", "demo", "web")
    (params,) = agent.params_of("network.connect")
    assert params["endpoint"] == {"gateway_priority": -5}


def test_a_network_without_ipv4(agent, cli):
    cli(agent, "network", "create", "--ipv4=false", "--ipv6", "six")
    (params,) = agent.params_of("network.create")
    assert (params["ipv4"], params["ipv6"]) == (False, True)


def test_prune_asks_first(agent, cli, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    said = cli(agent, "system", "prune")
    assert (said.code, said.out, agent.calls) == (0, "", [])
    assert "Are you sure? [y/N]" in said.err


def test_system_prune_adds_up(agent, cli):
    said = cli(agent, "system", "prune", "-f", "--volumes")
    assert said.out.endswith("Total reclaimed space: 4kB\n")
