"""Which upstreams a sandbox's questions go to, and from where. Pure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netdrivers.contract.names import DnsView

MAX_UPSTREAMS: Final = 3  # what resolv.conf may hold
OWN_ADDRESS: Final = "127.0.0.11"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where to ask for one sandbox; ``netns`` None = from where the agent is.

    Sandboxes of one route get the same answers; two routes never share any, so what a container's
    own servers say inside its sandbox stays there.
    """

    upstreams: tuple[str, ...]
    netns: Path | None


def route_of(view: DnsView, netns: Path) -> Route:
    """The way out of a view. From inside, our own address would be a loop, so it is left out."""
    inside = view.upstreams_in_sandbox
    usable = [each for each in view.upstreams if not (inside and each == OWN_ADDRESS)]
    return Route(upstreams=tuple(usable[:MAX_UPSTREAMS]), netns=netns if inside else None)
