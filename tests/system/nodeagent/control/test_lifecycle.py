"""The life of a container, as a user of the command line sees it."""

import json

import pytest

from nodeagent.rpc.sync_client import open_sync_client
from tests.system.harness.agent import Agent

SLEEP = ("busybox", "sleep", "1000")


def test_run_tells_the_exit_code_and_both_streams(agent: Agent) -> None:
    done = agent.cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3",
                     check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert agent.rows("container", "-a") == []


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("run", "busybox", "/no/such"), 127),
        (("run", "busybox", "/etc"), 126),
        (("run", "--rm", "no-such.invalid/image:x", "true"), 125),
        (("run", "--network", "nowhere", "busybox", "true"), 125),
    ],
)
def test_exit_codes_are_dockers(agent: Agent, args: tuple[str, ...], code: int) -> None:
    done = agent.cli(*args, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("nodeagent: ")


def test_stop_is_term_then_kill(agent: Agent) -> None:
    trap = "trap 'exit 7' TERM; while :; do sleep 0.05; done"
    agent.cli("run", "-d", "--name", "polite", "busybox", "sh", "-c", trap)
    agent.cli("stop", "polite")
    agent.cli("run", "-d", "--name", "deaf", *SLEEP)
    agent.cli("stop", "-t", "0", "deaf")
    codes = [agent.inspect("container", name)["State"]["ExitCode"] for name in ("polite", "deaf")]
    assert codes == [7, 137]


def test_the_writable_layer_lives_as_long_as_the_container(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    agent.cli("exec", "box", "sh", "-c", "echo kept > /note")
    agent.cli("restart", "-t", "0", "box")
    assert agent.say("exec", "box", "cat", "/note") == "kept"
    agent.cli("rm", "-f", "box")
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    assert agent.cli("exec", "box", "cat", "/note", check=False).returncode == 1


def test_exec_has_its_own_exit_code_user_and_directory(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "box", *SLEEP)
    assert agent.cli("exec", "box", "sh", "-c", "exit 9", check=False).returncode == 9
    assert agent.cli("exec", "box", "/no/such", check=False).returncode == 127
    assert agent.say("exec", "-u", "nobody", "-w", "/tmp", "box", "sh", "-c", "id -u; pwd") == (
        "65534\n/tmp"
    )


def test_ls_and_inspect_have_dockers_fields(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", "-p", "127.0.0.1:8080:80",
              "-v", "data:/www", "--label", "a=b", *SLEEP)  # fmt: skip
    (row,) = agent.rows("container")
    assert row["Names"] == "web"
    assert row["Ports"] == "127.0.0.1:8080->80/tcp"
    assert row["Status"].startswith("Up ")
    view = agent.inspect("container", "web")
    network = view["NetworkSettings"]["Networks"]["demo"]
    assert network["IPAddress"].count(".") == 3
    assert network["Gateway"].endswith(".1")
    assert view["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]
    }
    (mount,) = view["Mounts"]
    assert (mount["Name"], mount["Destination"], mount["RW"]) == ("data", "/www", True)
    assert view["Config"]["Labels"] == {"a": "b"}
    assert view["State"]["Pid"] > 1
    image = json.loads(agent.say("image", "inspect", "busybox"))[0]
    assert view["Image"] == image["Id"]
    assert len(image["RootFS"]["Layers"]) == 1


def test_names_are_held_and_followed(agent: Agent) -> None:
    agent.cli("network", "create", "demo")
    agent.cli("run", "-d", "--name", "web", "--network", "demo", "--network-alias", "www", *SLEEP)
    agent.cli("run", "-d", "--name", "client", "--network", "demo", *SLEEP)
    done = agent.cli("run", "--name", "web", *SLEEP, check=False)
    assert done.returncode == 125
    assert "in use" in done.stderr

    def resolves(name: str) -> bool:
        return agent.cli("exec", "client", "nslookup", name, check=False).returncode == 0

    assert resolves("web")
    assert resolves("www")
    assert resolves("web.demo")
    agent.cli("rename", "web", "site")
    assert resolves("site")
    assert not resolves("web")
    agent.cli("network", "disconnect", "demo", "site")
    assert not resolves("site")
    agent.cli("network", "connect", "--alias", "again", "demo", "site")
    assert resolves("again")
    agent.cli("stop", "-t", "0", "site")
    assert not resolves("site")


def test_strangers_do_not_hear_of_each_other(agent: Agent) -> None:
    for name in ("one", "two"):
        agent.cli("network", "create", f"net-{name}")
        agent.cli("run", "-d", "--name", name, "--network", f"net-{name}", *SLEEP)
    assert agent.cli("exec", "one", "nslookup", "two", check=False).returncode != 0
    address = agent.inspect("container", "two")["NetworkSettings"]["Networks"]["net-two"]
    ping = ("ping", "-c1", "-W1", address["IPAddress"])
    assert agent.cli("exec", "one", *ping, check=False).returncode != 0


def test_volumes_outlive_containers_and_get_the_images_content_once(agent: Agent) -> None:
    agent.cli("run", "--rm", "-v", "conf:/etc", "busybox", "sh", "-c", "echo mine > /etc/mine")
    listing = agent.say("run", "--rm", "-v", "conf:/other", "busybox", "ls", "/other").split()
    assert {"passwd", "group", "mine"} <= set(listing)
    agent.cli("run", "-d", "--name", "user", "-v", "conf:/x", *SLEEP)
    done = agent.cli("volume", "rm", "conf", check=False)
    assert done.returncode == 1
    assert "user" in done.stderr
    agent.cli("rm", "-f", "user")
    agent.cli("volume", "rm", "conf")
    assert agent.rows("volume") == []


def test_rm_wants_force_for_a_running_one_and_goes_on_after_an_error(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "up", *SLEEP)
    agent.cli("create", "--name", "down", *SLEEP)
    done = agent.cli("rm", "up", "down", "nobody", check=False)
    assert done.returncode == 1
    assert done.stdout.split() == ["down"]
    agent.cli("rm", "-f", "up")
    assert agent.rows("container", "-a") == []


def test_on_failure_counts_its_tries(agent: Agent) -> None:
    with open_sync_client(agent.host) as client:
        filters = {"container": ["loop"], "event": ["die"]}
        with client.stream("system.events", {"filters": filters}) as ends:
            agent.cli(
                "run", "-d", "--name", "loop", "--restart", "on-failure:2", "busybox", "false"
            )
            for _, _end in zip(range(3), ends, strict=False):
                pass
    agent.cli("wait", "loop")
    view = agent.inspect("container", "loop")
    assert (view["RestartCount"], view["State"]["ExitCode"]) == (2, 1)
    assert view["State"]["Status"] == "exited"


def test_limits_reach_the_kernel(agent: Agent) -> None:
    agent.cli("run", "-d", "--name", "tight", "--memory", "64m", "--pids-limit", "32", *SLEEP)
    lines = agent.say("stats", "--no-stream", "--format", "json", "tight").splitlines()
    (stats,) = map(json.loads, lines)
    assert stats["MemoryLimitBytes"] == 64 << 20
    assert stats["Pids"] == 1


def test_logs_have_both_streams_and_a_tail(agent: Agent) -> None:
    script = "for n in 1 2 3; do echo line $n; done; echo wrong >&2"
    agent.cli("run", "--name", "talk", "busybox", "sh", "-c", script)
    done = agent.cli("logs", "talk")
    assert (done.stdout, done.stderr) == ("line 1\nline 2\nline 3\n", "wrong\n")
    assert agent.say("logs", "--tail", "2", "talk") == "line 3"
