"""``cluster`` and ``node``: what is asked of the agent and shown to people.

Covers nodeagent/cli/node.py
"""

import json

import pytest

from tests.fakes.agent import FakeAgent

TOKEN = f"NAT-1-{'a' * 64}-{'b' * 32}"
NODE = {
    "Id": "0123456789abcdef01234567", "Hostname": "web-1", "Status": "ready", "Role": "manager",
    "Availability": "active", "Address": "192.0.2.1", "EngineVersion": "0.1.0", "Labels": {},
    "IsSelf": True, "JoinedAt": "2026-11-27T08:00:00Z",
}  # fmt: skip


@pytest.fixture
def ask(cli, tmp_path):
    """Run a command against an agent that answers from a table."""

    def run(replies, *argv):
        with FakeAgent(tmp_path / f"s{len(list(tmp_path.iterdir()))}", replies) as agent:
            return cli(agent, *argv)

    return run


def test_init_says_how_others_join(ask):
    said = ask(
        {
            "cluster.init": {"id": "n1", "name": "web-1", "warnings": []},
            "cluster.token": {"text": TOKEN},
            "cluster.info": {"Address": "192.0.2.1"},
        },
        "cluster", "init", "--advertise-addr", "192.0.2.1",
    )  # fmt: skip
    assert said.code == 0
    assert f"nodeagent cluster join --token {TOKEN} 192.0.2.1:2377" in said.out


def test_join(ask):
    answer = {"id": "n2", "name": "worker", "warnings": []}
    said = ask({"cluster.join": answer}, "cluster", "join", "--token", TOKEN, "192.0.2.1:2377")
    assert "as a worker" in said.out


def test_a_certificate_goes_into_files_that_nobody_else_reads(ask, tmp_path):
    answer = {"authority": "CA\n", "certificate": "CERT\n", "key": "KEY\n"}
    out = tmp_path / "certs"
    said = ask({"cluster.certificate": answer}, "cluster", "cert", "me", "--out", str(out))
    assert said.code == 0
    assert (out / "key.pem").read_text() == "KEY\n"
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_nodes_are_listed_with_a_mark_at_this_one(ask):
    said = ask({"node.ls": [NODE]}, "node", "ls")
    assert "0123456789ab *" in said.out
    assert "web-1" in said.out
    rows = ask({"node.ls": [NODE]}, "node", "ls", "--format", "json").out
    assert json.loads(rows)["Role"] == "manager"


def test_node_update_and_rm(ask):
    words = ("node", "update", "--label-add", "a=b", "web-1")
    assert ask({"node.update": {}}, *words).out == "web-1\n"
    assert ask({"node.rm": {}}, "node", "rm", "web-1", "web-2").out == "web-1\nweb-2\n"
