"""login, push, pull and save from the command line, with a registry that asks for a password.

Covers nodeagent/cli/registry.py
"""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.system.harness.agent import Agent
from tests.system.harness.registry import PASSWORD, USER, open_registry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's logins are."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker"


def test_a_login_opens_the_registry_and_a_logout_shuts_it(
    shared_agent: Agent, home: Path, tmp_path: Path
) -> None:
    agent = shared_agent
    with open_registry(agent.space, port=5001, closed=True) as registry:
        name = f"{registry.address}/demo/app"
        for tag in ("1", "2"):
            agent.cli("tag", "busybox", f"{name}:{tag}")
        assert "login" in agent.cli("push", f"{name}:1", check=False).stderr
        wrong = ("login", "-u", USER, "-p", "wrong", registry.address)
        assert agent.cli(*wrong, check=False).returncode == 1
        assert not (home / "config.json").exists()
        said = agent.pipe(
            "login", "-u", USER, "--password-stdin", registry.address, data=PASSWORD.encode()
        )
        assert said == b"Login Succeeded\n"
        assert registry.address in json.loads((home / "config.json").read_text())["auths"]

        digest = agent.say("push", "-q", f"{name}:1")
        assert digest == f"{name}:1"
        said = agent.say("push", "-a", name)
        assert said.count("digest: sha256:") == 2
        assert "exists" in said
        agent.cli("rmi", f"{name}:1", f"{name}:2")
        agent.cli("pull", "-a", name)
        assert len(agent.rows("image", "--filter", f"reference={name}")) == 2
        assert agent.say("run", "--rm", "--pull", "always", f"{name}:1", "echo", "in") == "in"

        assert "Removing" in agent.say("logout", registry.address)
        assert "login" in agent.cli("pull", f"{name}:1", check=False).stderr
        agent.cli("rmi", f"{name}:1", f"{name}:2")


def test_who_says_too_little_is_told(shared_agent: Agent, home: Path) -> None:
    del home
    for words, says in (
        (("login", "-u", "me", "x:1"), "--password-stdin"),
        (("login", "--password-stdin", "x:1"), "--username"),
        (("login", "-u", "me", "-p", "x", "127.0.0.1:1"), "127.0.0.1:1"),
        (("push", "-a", "busybox:latest"), "without a tag"),
        (("push", "-a", "nothing"), "no image"),
        (("push", "nothing:1"), "nothing:1"),
        (("save", "-o", "/nowhere/x", "busybox"), "/nowhere/x"),
        (("save", "nothing:1"), "nothing:1"),
    ):
        done = shared_agent.cli(*words, check=False)
        assert done.returncode != 0, words
        assert says in done.stderr, words


def test_saved_images_come_back_here_and_elsewhere(shared_agent: Agent, tmp_path: Path) -> None:
    agent, path = shared_agent, tmp_path / "all.tar"
    agent.cli("tag", "busybox", "second:2")
    agent.cli("save", "-o", str(path), "busybox", "second:2")
    id_ = agent.inspect("image", "busybox")["Id"]
    agent.cli("rmi", "second:2")
    assert "second:2" in agent.say("load", "-q", "-i", str(path))
    assert agent.inspect("image", "second:2")["Id"] == id_
    done = subprocess.run(
        ["skopeo", "inspect", "--config", f"docker-archive:{path}:second:2"],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["architecture"]
    with tarfile.open(path) as archive:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(archive.getnames())
    agent.cli("rmi", "second:2")
