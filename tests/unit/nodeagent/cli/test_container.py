import json

import pytest

from nodeagent.cli.container import shape_rows
from tests.fakes.agent import Failure

ROW = {
    "ID": "0123456789abcdef", "Names": "web", "Image": "busybox",
    "Command": "httpd -f -h /a/long/path",
    "CreatedAt": "2026-01-01T00:00:00Z", "State": "running", "Status": "Up 3 minutes",
    "Ports": "127.0.0.1:8080->80/tcp", "Labels": "", "Mounts": "", "Networks": "demo",
    "RunningFor": "3 minutes ago",
}  # fmt: skip


@pytest.fixture
def agent(agent_of):
    def gone(call):
        if call.params["name"] == "b":
            raise Failure("missing", "no container is called 'b'")

    one_by_one = dict.fromkeys(
        ["container.rm", "container.stop", "container.kill", "container.pause", "container.restart",
         "container.unpause", "container.rename"], gone,
    )  # fmt: skip
    return agent_of(
        {
            "container.ls": [ROW],
            "container.wait": {"exit_code": 3, "error": ""},
            "container.prune": {"Deleted": ["abc"], "SpaceReclaimed": 2000},
            **one_by_one,
        }
    )


def test_ls_is_dockers_table(agent, cli):
    said = cli(agent, "ps")
    assert said.code == 0
    assert said.out == (
        "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS"
        "                    NAMES\n"
        '0123456789ab   busybox   "httpd -f -h /a/long…"   3 minutes ago   Up 3 minutes   '
        "127.0.0.1:8080->80/tcp   web\n"
    )
    assert agent.params_of("container.ls") == [{"all": False, "filters": {}, "size": False}]


def test_ls_json_is_an_object_a_line(agent, cli):
    assert json.loads(cli(agent, "container", "ls", "--format", "json").out)["Names"] == "web"


@pytest.mark.parametrize(
    "verb", [("ps",), ("container", "ls"), ("container", "ps"), ("container", "list")]
)
def test_ls_has_many_names(agent, cli, verb):
    assert cli(agent, *verb, "-q").out == "0123456789ab\n"


def test_ls_whole_ids(agent, cli):
    assert cli(agent, "ps", "-q", "--no-trunc").out == "0123456789abcdef\n"


@pytest.mark.parametrize(
    ("argv", "params"),
    [
        (["-a"], {"all": True, "filters": {}}),
        (
            ["--filter", "label=a=b", "-f", "label=c"],
            {"all": False, "filters": {"label": ["a=b", "c"]}},
        ),
        (["-f", "status=exited"], {"all": True, "filters": {"status": ["exited"]}}),
        (["-l"], {"all": True, "filters": {}}),
        (["-n", "3"], {"all": True, "filters": {}}),
    ],
)
def test_ls_asks(agent, cli, argv, params):
    assert cli(agent, "ps", *argv).code == 0
    assert agent.params_of("container.ls") == [params | {"size": False}]


def test_bad_filter_is_named(agent, cli):
    said = cli(agent, "ps", "--filter", "web")
    assert (said.code, said.out) == (125, "")
    assert "--filter: 'web' is no filter" in said.err


def test_an_error_does_not_stop_the_others(agent, cli):
    said = cli(agent, "rm", "-f", "a", "b", "c")
    assert (said.code, said.out) == (1, "a\nc\n")
    assert said.err == "nodeagent: no container is called 'b'\n"
    assert [p["name"] for p in agent.params_of("container.rm")] == ["a", "b", "c"]
    assert agent.params_of("container.rm")[0] == {"name": "a", "force": True, "volumes": False}


@pytest.mark.parametrize(
    ("argv", "method", "params"),
    [
        (["stop", "a"], "container.stop", {"name": "a", "signal": ""}),
        (["stop", "-t", "3", "a"], "container.stop", {"name": "a", "signal": "", "timeout_s": 3}),
        (["stop", "-t", "0", "a"], "container.stop", {"name": "a", "signal": "", "timeout_s": 0}),
        (["restart", "a"], "container.restart", {"name": "a", "signal": ""}),
        (["kill", "a"], "container.kill", {"name": "a", "signal": "KILL"}),
        (["kill", "-s", "HUP", "a"], "container.kill", {"name": "a", "signal": "HUP"}),
        (["pause", "a"], "container.pause", {"name": "a"}),
        (["unpause", "a"], "container.unpause", {"name": "a"}),
        (
            ["container", "rm", "-v", "a"],
            "container.rm",
            {"name": "a", "force": False, "volumes": True},
        ),
    ],
)
def test_verbs_print_the_names(agent, cli, argv, method, params):
    said = cli(agent, *argv)
    assert (said.code, said.out, said.err) == (0, "a\n", "")
    assert agent.params_of(method) == [params]


def test_rename_is_silent(agent, cli):
    said = cli(agent, "rename", "a", "n")
    assert (said.code, said.out) == (0, "")
    assert agent.params_of("container.rename") == [{"name": "a", "new_name": "n"}]


def test_wait_prints_codes(agent, cli):
    said = cli(agent, "wait", "a", "b")
    assert (said.code, said.out) == (0, "3\n3\n")


@pytest.mark.parametrize("argv", [("-s",), ("--format", "table {{.Size}}")])
def test_ls_measures_when_sizes_are_shown(agent_of, cli, argv):
    agent = agent_of({"container.ls": [ROW | {"SizeRw": 4096, "SizeRootFs": 5_004_096}]})
    said = cli(agent, "ps", *argv)
    head, line = said.out.splitlines()
    assert (head.split()[-1], agent.params_of("container.ls")[0]["size"]) == ("SIZE", True)
    assert line.endswith("4.096kB (virtual 5.004MB)")


def test_inspect_measures_when_asked(agent_of, cli):
    agent = agent_of({"container.inspect": [{"Id": "abc", "SizeRw": 7}]})
    for verb in (("inspect",), ("container", "inspect")):
        assert cli(agent, *verb, "-s", "-f", "{{.SizeRw}}", "web").out == "7\n"
    assert agent.params_of("container.inspect") == [{"names": ["web"], "size": True}] * 2


def test_prune_takes_filters(agent, cli):
    assert cli(agent, "container", "prune", "-f", "--filter", "label!=a=b").code == 0
    assert agent.params_of("container.prune") == [{"filters": {"label!": ["a=b"]}}]


def test_prune_says_what_went(agent, cli):
    said = cli(agent, "container", "prune", "-f")
    assert said.out == "Deleted Containers:\nabc\n\nTotal reclaimed space: 2kB\n"


def test_a_short_command_stays_whole():
    assert shape_rows([ROW | {"Command": "sh"}], whole=False)[0]["Command"] == '"sh"'
