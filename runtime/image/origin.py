"""Whom a URL leads to, and who may be asked without TLS. Pure."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whom we talk to."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def split_url(url: str) -> tuple[Origin, str]:
    """Take a URL apart (Refused)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise errors.Refused("read URL", url=url[:300], why=str(exc)) from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise errors.Refused("read URL", url=url[:300], why="not a plain http or https URL")
    default = 443 if parts.scheme == "https" else 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(scheme=parts.scheme, host=parts.hostname, port=port or default), target


def is_loopback(origin: Origin) -> bool:
    """Whether it is this host by its name alone: no look-up that somebody could influence."""
    if origin.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(origin.host).is_loopback
    except ValueError:
        return False


def check_clear(origin: Origin, led_by: Origin) -> None:
    """Plain HTTP is for loopback, and only if who leads us there is on loopback, too.

    Else a registry elsewhere could make us ask the services of our own host.

    Raises:
        Refused: it would be plain HTTP to another host, or at another host's word.
    """
    if origin.scheme != "https" and not (is_loopback(origin) and is_loopback(led_by)):
        why = "plain HTTP is for loopback, and not at the word of another host"
        raise errors.Refused("ask", url=origin.url, led_by=led_by.netloc, why=why)
