"""Join tokens: ``NAT-1-DIGEST-SECRET``. Pure.

The digest pins the cluster's authority, so that who joins sends the secret to nobody else.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from nodeagent.errors import Invalid, Refused

NodeRole = Literal["manager", "worker"]
PREFIX: Final = "NAT"
VERSION: Final = "1"
DIGEST_CHARS: Final = 64
SECRET_CHARS: Final = 32
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token says."""

    digest: str
    secret: str

    def __str__(self) -> str:
        return "-".join((PREFIX, VERSION, self.digest, self.secret))


def parse_token(text: str) -> Token:
    """Read a token (Invalid says what is wrong with it)."""
    parts = text.strip().split("-")
    if len(parts) != 4 or parts[0] != PREFIX:
        raise _invalid("it is NAT-1-DIGEST-SECRET, as `cluster token` prints it")
    if parts[1] != VERSION:
        raise _invalid(f"it is of version {parts[1]}, this agent knows {VERSION}")
    for part, size, name in (
        (parts[2], DIGEST_CHARS, "digest"),
        (parts[3], SECRET_CHARS, "secret"),
    ):
        if len(part) != size or not set(part) <= _HEX:
            raise _invalid(f"its {name} is not {size} hex digits; was it copied whole?")
    return Token(digest=parts[2], secret=parts[3])


def _invalid(why: str) -> Invalid:
    return Invalid(f"not a join token: {why}", field="token")


def hash_secret(secret: str) -> str:
    """What is kept of a secret. It has 128 random bits, so one hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def role_of(secret: str, kept: Mapping[NodeRole, str]) -> NodeRole:
    """Which role a secret admits to; each is compared in full, whatever the others say.

    Raises:
        Refused: to none.
    """
    digest = hash_secret(secret)
    found = [role for role, each in kept.items() if hmac.compare_digest(digest, each)]
    if not found:
        raise Refused(
            "the token admits nobody: it was rotated; ask a manager for `cluster token`",
            field="token",
        )
    return found[0]
