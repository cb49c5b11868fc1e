import json

import pytest

from nodeagent.cli.port import port_lines

ROW = {
    "Container": "web", "ContainerID": "ab" * 32, "Protocol": "tcp", "HostIP": "::1",
    "HostPort": 8080, "ContainerPort": 80, "Reach": "this host only", "Held": True,
}  # fmt: skip
PORTS = {
    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
    "9/udp": [{"HostIp": "127.0.0.1", "HostPort": "9"}],
    "443/tcp": None,
}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ([], ["9/udp -> 127.0.0.1:9", "80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]),
        (["80"], ["0.0.0.0:8080", "[::]:8080"]),
        (["9/udp"], ["127.0.0.1:9"]),
        (["443"], []),
    ],
)
def test_ports(asked, wanted):
    assert port_lines(PORTS, asked) == wanted


def test_all_ports_as_a_table(agent_of, cli):
    with_rows = agent_of({"port.ls": [ROW]})
    said = cli(with_rows, "port", "ls", "--filter", "container=web")
    heading, line = said.out.splitlines()
    assert heading.split() == [
        "CONTAINER", "HOST", "ADDRESS", "PORT", "HELD", "WHO", "CAN", "REACH", "IT",
    ]  # fmt: skip
    assert line.split(maxsplit=4) == ["web", "[::1]:8080", "80/tcp", "true", "this host only"]
    assert with_rows.params_of("port.ls") == [{"filters": {"container": ["web"]}}]


def test_all_ports_as_json_and_by_template(agent_of, cli):
    agent = agent_of({"port.ls": [ROW]})
    said = cli(agent, "port", "list", "--format", "json")
    assert json.loads(said.out)["HostPort"] == 8080
    assert cli(agent, "port", "ls", "-q").out == "[::1]:8080\n"
    assert cli(agent, "port", "ls", "--format", "{{.Reach}}").out == "this host only\n"


@pytest.mark.parametrize("words", [("port", "web"), ("container", "port", "web")])
def test_one_container_as_docker_shows_it(agent_of, cli, words):
    view = [{"NetworkSettings": {"Ports": PORTS}}]
    said = cli(agent_of({"container.inspect": view}), *words)
    assert said.out.splitlines()[0] == "9/udp -> 127.0.0.1:9"


def test_a_port_that_is_not_published_is_an_error(agent_of, cli):
    view = [{"NetworkSettings": {"Ports": PORTS}}]
    said = cli(agent_of({"container.inspect": view}), "port", "web", "443")
    assert (said.code, said.out) == (1, "")
    assert "443 of web is not published" in said.err
