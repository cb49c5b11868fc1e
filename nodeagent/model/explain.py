"""Why a packet gets there, or does not: question and answer."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nodeagent.model.containerrequest import Name, Port


class Explain(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``network.explain``.

    ``source``: a container, ``host``, ``outside`` or ``outside:IP``. ``target``: a name as the
    source would say it, or an IP address. ``port`` 0: whether an echo request is answered.
    ``probe`` false: only what can be read, no packet is sent.
    """

    source: Annotated[str, Meta(min_length=1, max_length=255)]
    target: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Port = 0
    protocol: Literal["tcp", "udp"] = "tcp"
    probe: bool = True


class _View(Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's spelling."""


class HopView(_View, frozen=True, kw_only=True):
    """One thing on the way."""

    place: Name
    where: Name
    what: str
    state: Literal["ok", "fails", "suspect"]
    why: str
    fix: str


class ExplainView(_View, frozen=True, kw_only=True):
    """The answer; ``reachable`` None: nothing found in the way, but no packet was sent."""

    reachable: bool | None
    summary: str
    hops: list[HopView]
    notes: list[str]
