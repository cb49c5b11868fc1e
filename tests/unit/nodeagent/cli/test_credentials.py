"""Docker's config.json and credential helpers, as Docker writes and runs them."""

import json
import os
import stat

import pytest

from nodeagent.cli.call import CommandFailed
from nodeagent.cli.credentials import CredentialStore, plain_server, server_of

ME = {"user": "me", "password": "pa:ss"}
HELPER = """#!/bin/sh
read -r line || true
case $1 in
  get) [ -f "$0.kept" ] || { echo "credentials not found in native keychain"; exit 1; }
       [ "$line" = broken ] && { echo nonsense; exit 0; }
       [ "$line" = angry ] && { echo "no way" >&2; exit 3; }
       printf '{"ServerURL":"%s","Username":"me","Secret":"pa:ss"}' "$line" ;;
  store) echo "$line" >"$0.kept" ;;
  erase) rm -f "$0.kept" ;;
esac
"""


@pytest.fixture
def store(tmp_path):
    return CredentialStore({"DOCKER_CONFIG": str(tmp_path)})


def write(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("image", "server"),
    [
        ("busybox", "docker.io"),
        ("me/app:1", "docker.io"),
        ("docker.io/me/app", "docker.io"),
        ("index.docker.io/me/app", "docker.io"),
        ("localhost/app", "localhost"),
        ("127.0.0.1:5000/a/b@sha256:00", "127.0.0.1:5000"),
        ("quay.io/x", "quay.io"),
    ],
)
def test_whose_image_it_is(image, server):
    assert server_of(image) == server


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("", "docker.io"),
        ("https://quay.io/v2/", "quay.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_servers_as_users_write_them(text, server):
    assert plain_server(text) == server


def test_a_login_is_kept_as_docker_keeps_it_and_forgotten(tmp_path, store):
    write(tmp_path, HttpHeaders={"kept": "x"}, auths={"quay.io": {"auth": "YTpi"}})
    store.store("docker.io", ME)
    store.store("localhost:5000", ME)
    path = tmp_path / "config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text())
    assert found["HttpHeaders"] == {"kept": "x"}
    assert found["auths"]["https://index.docker.io/v1/"] == {"auth": "bWU6cGE6c3M="}
    assert store.find("docker.io") == store.find("localhost:5000") == ME
    assert store.find("quay.io") == {"user": "a", "password": "b"}
    assert store.erase("docker.io")
    assert not store.erase("docker.io")
    assert store.find("docker.io") is None
    assert json.loads(path.read_text())["auths"].keys() == {"quay.io", "localhost:5000"}


def test_without_a_file_there_is_no_login(tmp_path):
    store = CredentialStore({"HOME": str(tmp_path)})
    assert store.find("docker.io") is None
    assert not store.erase("docker.io")
    store.store("a:1", ME)
    assert (tmp_path / ".docker/config.json").exists()


def test_an_identity_token_is_no_password(tmp_path, store):
    write(tmp_path, auths={"r.example": {"auth": "MDA6", "identitytoken": "tok"}})
    assert store.find("r.example") == {"user": "<token>", "password": "tok"}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths":{"a":{"auth":"%"}}}', '{"auths":{"a":{"auth":"/w=="}}}']
)
def test_a_damaged_file_is_told(tmp_path, store, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CommandFailed):
        store.find("a")


def test_helpers_are_asked(tmp_path, store, monkeypatch):
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    write(tmp_path, credsStore="none-such", credHelpers={"h": "test", "broken": "test"})
    assert store.find("h") is None
    assert "docker-credential" not in store.store("h", ME)
    assert json.loads((tmp_path / "docker-credential-test.kept").read_text())["Username"] == "me"
    assert store.find("h") == ME
    assert "auths" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(CommandFailed, match="nonsense"):
        store.find("broken")
    with pytest.raises(CommandFailed, match="none-such"):
        store.find("another")
    assert store.erase("h")
    assert store.find("h") is None
    write(tmp_path, credsStore="test")
    store.store("angry", ME)
    with pytest.raises(CommandFailed, match="no way"):
        store.find("angry")
