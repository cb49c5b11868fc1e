"""Logins at registries, kept where Docker keeps them: its ``config.json`` and credential helpers.

They are the user's: read, and helpers run, by the command, and given to the agent with each call.

Source: docker/cli, "docker login: credential stores"; docker-credential-helpers' protocol.
"""

import base64
import binascii
import json
import os
import subprocess  # noqa: TID251  the command line has no loop, and asks a helper of the user's
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from nodeagent.cli.call import CommandFailed

Login = dict[str, str]  # user, password
HUB: Final = "docker.io"
HUB_KEY: Final = "https://index.docker.io/v1/"  # as Docker calls its own registry
HUB_NAMES: Final = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
REFRESH_USER: Final = "<token>"
HELPER_S: Final = 60.0  # it may ask somebody for a password
NOT_FOUND: Final = "credentials not found"


def server_of(image: str) -> str:
    """The registry in an image's name."""
    first, slash, _ = image.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first.lower() != first
    return plain_server(first) if slash and is_host else HUB


def plain_server(text: str) -> str:
    """A server as users and config files write it, as it stands before an image's name."""
    host = text.partition("://")[2] or text
    host = host.partition("/")[0]
    return HUB if host in HUB_NAMES or not host else host


class CredentialStore:
    """The logins of one user."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        home = environ.get("HOME") or str(Path.home())
        self._path = Path(environ.get("DOCKER_CONFIG") or Path(home) / ".docker") / "config.json"

    def find(self, server: str) -> Login | None:
        """The login for a server, None if there is none (CommandFailed: it cannot be read)."""
        config = self._read()
        if helper := self._helper(config, server):
            return _from_helper(helper, server)
        auths = _table(config, "auths")
        for key, entry in auths.items():
            if plain_server(key) == server and isinstance(entry, dict):
                return _from_entry(entry, key)
        return None

    def store(self, server: str, login: Login) -> str:
        """Keep a login; where it went, in words."""
        config = self._read()
        if helper := self._helper(config, server):
            body = {
                "ServerURL": _key(server), "Username": login["user"], "Secret": login["password"]
            }  # fmt: skip
            _run(helper, "store", json.dumps(body))
            return f"the credential helper {helper}"
        pair = base64.b64encode(f"{login['user']}:{login['password']}".encode())
        auths = _table(config, "auths")
        self._write({**config, "auths": {**auths, _key(server): {"auth": pair.decode("ascii")}}})
        return f"{self._path}, unencrypted"

    def erase(self, server: str) -> bool:
        """Forget a login; whether there was one."""
        was = self.find(server)
        config = self._read()
        if helper := self._helper(config, server):
            _run(helper, "erase", _key(server))
        auths = _table(config, "auths")
        kept = {key: entry for key, entry in auths.items() if plain_server(key) != server}
        if kept != auths:
            self._write({**config, "auths": kept})
        return was is not None

    def _helper(self, config: dict[str, object], server: str) -> str:
        for key, name in _table(config, "credHelpers").items():
            if plain_server(key) == server:
                return str(name)
        return str(config.get("credsStore") or "")

    def _read(self) -> dict[str, object]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise CommandFailed(f"cannot read {self._path}: {exc}") from exc
        if not isinstance(found, dict):
            raise CommandFailed(f"cannot read {self._path}: it is no JSON object")
        return found

    def _write(self, config: dict[str, object]) -> None:
        """The old file or the new one, and nobody else's to read."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(config, file, indent="\t")
            file.flush()
            os.fsync(fd)
        draft.rename(self._path)


def _key(server: str) -> str:
    return HUB_KEY if server == HUB else server


def _table(config: dict[str, object], key: str) -> dict[str, object]:
    found = config.get(key)
    return found if isinstance(found, dict) else {}


def _from_entry(entry: dict[str, object], key: str) -> Login | None:
    if token := entry.get("identitytoken"):
        return Login(user=REFRESH_USER, password=str(token))
    try:
        pair = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise CommandFailed(f"the login for {key} is damaged; log in again") from exc
    user, colon, password = pair.partition(":")
    return Login(user=user, password=password.rstrip("\0")) if colon else None


def _from_helper(helper: str, server: str) -> Login | None:
    said = _run(helper, "get", _key(server))
    if said is None:
        return None
    try:
        found = json.loads(said)
        return Login(user=str(found["Username"]), password=str(found["Secret"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise CommandFailed(f"docker-credential-{helper} answers nonsense") from exc


def _run(helper: str, verb: Literal["get", "store", "erase"], text: str) -> str | None:
    """What a helper says; None if it has no such login."""
    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [name, verb], input=text, capture_output=True, text=True, timeout=HELPER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CommandFailed(f"cannot run {name} (from config.json): {exc}") from exc
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout.strip() or done.stderr.strip())[:300]
    if NOT_FOUND in said:
        return None
    raise CommandFailed(f"{name} {verb}: {said or f'exit code {done.returncode}'}")
