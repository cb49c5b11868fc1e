"""Image names: Docker's grammar, its defaults, and its familiar short form."""

import re
from dataclasses import dataclass
from typing import Final

from runtime import errors

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
NAME_MAX_CHARS: Final = 255

_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name with its defaults filled in; ``tag`` is "" where only a digest was given."""

    domain: str  # "docker.io", "localhost:5000"
    path: str  # "library/busybox"
    tag: str
    digest: str

    @property
    def familiar_name(self) -> str:
        """``busybox`` for docker.io/library/busybox."""
        if self.domain != DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def repo_tag(self) -> str:
        """``busybox:latest``, or "" without a tag."""
        return f"{self.familiar_name}:{self.tag}" if self.tag else ""

    def repo_digest(self, digest: str) -> str:
        """``busybox@sha256:…`` for this name."""
        return f"{self.familiar_name}@{digest}"


def parse_reference(text: str) -> Reference:
    """Read a name as a Docker user writes it.

    Raises:
        Invalid: not a name; says why where Docker does.

    Source: distribution/reference's grammar.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise errors.Invalid("parse image name", name=text[:300], why=_complaint(text))
    if _ID.fullmatch(match["name"]):
        raise errors.Invalid("parse image name", name=text, why="64 hex digits are an id")
    domain, path = _split_domain(match["name"])
    if not path or path != path.lower() or len(domain) + 1 + len(path) > NAME_MAX_CHARS:
        raise errors.Invalid("parse image name", name=text[:300], why="too long or no repository")
    tag, digest = match["tag"] or "", match["digest"] or ""
    return Reference(
        domain=domain, path=path, tag=tag or ("" if digest else DEFAULT_TAG), digest=digest
    )


def is_digest(text: str) -> bool:
    """Whether it is ``sha256:`` and 64 hex digits."""
    return _DIGEST.fullmatch(text) is not None


def _split_domain(name: str) -> tuple[str, str]:
    """A first part is a host if it has a dot or a port, is localhost, or has capitals."""
    first, slash, rest = name.partition("/")
    hostlike = "." in first or ":" in first or first == "localhost" or first.lower() != first
    if not (slash and hostlike):
        first, rest = DEFAULT_DOMAIN, name
    if first == "index.docker.io":
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _complaint(text: str) -> str:
    if text != text.lower() and _REFERENCE.fullmatch(text.lower()):
        return "repository name must be lowercase"
    return "invalid reference format"
