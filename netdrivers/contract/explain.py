"""From where to where, and what was found on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from netdrivers.contract.names import DnsTable
from netdrivers.contract.specs import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """From where to where, for ``explain``.

    ``source``: a sandbox, "" for this host (and containers in its namespace), None for outside.
    ``name``: what the source would ask its name server for, who answers from ``table``; "" = the
    target is known by ``addresses``, of which the first is tried. With a name they are used where
    the table has none, and ``no_name`` says why that is. ``titles``: names of sandboxes for people.
    ``port`` 0: whether an echo request is answered.
    """

    source: str | None
    source_name: str
    source_ip: IPAddress | None = None  # of a source that is outside
    target_name: str
    name: str = ""
    table: DnsTable | None = None
    addresses: tuple[IPAddress, ...] = ()
    no_name: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    protocol: Literal["icmp", "tcp", "udp"] = "icmp"
    port: int = 0
    probe: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One thing on the way."""

    place: str  # name, route, neighbour, veth, bridge, rules, listener, …
    where: str  # in which namespace, in words
    what: str  # which one, in words
    state: Literal["ok", "fails", "suspect"] = "ok"
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The hops in order and the answer; ``reachable`` None: nothing in the way, but not tried."""

    reachable: bool | None
    summary: str
    hops: tuple[Hop, ...]
    notes: tuple[str, ...] = ()
