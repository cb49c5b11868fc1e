"""Registry authentication: reading challenges and tokens, building the answers. Pure."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import msgspec

from runtime import errors

REFRESH_USER: Final = "<token>"  # as Docker's credential helpers say that it is no password
_CHALLENGE: Final = re.compile(r"(?:^|,)\s*(bearer|basic)(?=\s|$)", re.ASCII | re.IGNORECASE)
_PARAMETER: Final = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))', re.ASCII)
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user's name and password or token at one registry."""

    user: str
    password: str

    def header(self) -> str:
        """As an Authorization header has it."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How a registry wants to be asked."""

    scheme: str  # "bearer" or "basic"
    realm: str = ""
    service: str = ""
    scope: str = ""

    def token_url(self, scopes: Sequence[str]) -> str:
        """Where to ask for a token that allows these scopes and the one the registry named."""
        pairs = [("service", self.service), *(("scope", each) for each in self._wanted(scopes))]
        words = urlencode([(key, value) for key, value in pairs if value])
        return f"{self.realm}{'&' if '?' in self.realm else '?'}{words}"

    def token_form(self, scopes: Sequence[str], refresh_token: str) -> bytes:
        """What to post to the realm instead, with a refresh token (Docker's "identity token")."""
        form = {
            "grant_type": "refresh_token",
            "service": self.service,
            "scope": " ".join(self._wanted(scopes)),
            "client_id": "nodeagent",
            "refresh_token": refresh_token,
        }
        return urlencode(form).encode("ascii")

    def _wanted(self, scopes: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*self.scope.split(), *scopes]))


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


def parse_challenge(header: str) -> Challenge | None:
    """Read WWW-Authenticate; a bearer challenge wins over basic. None if neither."""
    found: dict[str, dict[str, str]] = {}
    marks = list(_CHALLENGE.finditer(header[:8192]))
    ends = [mark.start() for mark in marks[1:]] + [8192]
    for mark, end in zip(marks, ends, strict=False):
        text = header[mark.end() : end]
        pairs = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(text)}
        found.setdefault(mark[1].lower(), pairs)
    for scheme in ("bearer", "basic"):
        if scheme in found and (scheme == "basic" or found[scheme].get("realm")):
            known = {key: found[scheme].get(key, "") for key in ("realm", "service", "scope")}
            return Challenge(scheme=scheme, **known)
    return None


def parse_token(body: bytes) -> str:
    """Read a token server's answer (Refused)."""
    try:
        answer = msgspec.json.decode(body, type=_Token)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise errors.Refused("read registry token", why=str(exc)[:200]) from exc
    token = answer.token or answer.access_token
    if not _TOKEN.fullmatch(token):
        raise errors.Refused("read registry token", why="no usable token")
    return f"Bearer {token}"
