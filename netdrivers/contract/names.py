"""What the name server answers from, and what it offers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from netdrivers.contract.specs import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsHost:
    """One endpoint as names know it.

    ``name``: what its addresses are called in reverse, and what SRV leads to. ``services``: ports
    by what SRV asks for, ``_http._tcp`` or ``_80._tcp`` (lower case). One that is not ready is
    only answered to who asks for ``all.NAME``; of one that is not up only the name is known.
    """

    name: str
    addresses: tuple[IPAddress, ...]
    is_up: bool = True
    is_ready: bool = True
    services: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsZone:
    """Names of one network: lower-case name -> who bears it; reverse: address -> canonical name."""

    name: str  # network name: "web.demo" resolves like "web"
    names: Mapping[str, tuple[DnsHost, ...]]
    reverse: Mapping[IPAddress, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsView:
    """What one sandbox may ask: its networks in order of preference, and where the rest goes."""

    zones: tuple[str, ...]  # network ids
    upstreams: tuple[str, ...] = ()  # "9.9.9.9", "::1", "127.0.0.53"; asked in a race
    upstreams_in_sandbox: bool = False  # dial from the sandbox (given by --dns) or from the host


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsTable:
    """The whole truth about names on this host; swapped whole, never changed in place.

    A zone or view that did not change is the same object in the next table: what was prepared of
    it is kept.
    """

    zones: Mapping[str, DnsZone] = field(default_factory=dict)  # by network id
    views: Mapping[str, DnsView] = field(default_factory=dict)  # by sandbox id


# (upper bounds in s, cumulative counts, one more than bounds: the last is all, sum of s)
Latency = tuple[Sequence[float], Sequence[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCounts:
    """What came of asking one upstream, and how long its answers took.

    Outcomes: answered (it knows, also that there is no such name), failed (it says that it does
    not know), unreachable, timeout, outrun (another one answered first).
    """

    outcomes: Mapping[str, int]
    latency: Latency


class NameServer(Protocol):
    """127.0.0.11 of every sandbox, served by this process's loop."""

    async def run(self) -> None:
        """Serve until cancelled. Sockets may be opened before or while it runs."""

    def open(self, sandbox_id: str, netns: Path, port: int) -> int:
        """Bind udp and tcp 127.0.0.11 in the sandbox, on ``port`` if free (0 = any); return it."""
        ...

    def close(self, sandbox_id: str) -> None:
        """Stop serving the sandbox. Idempotent."""

    def served(self) -> Collection[str]:
        """Sandboxes that have been opened and not closed."""

    def set_table(self, table: DnsTable) -> None:
        """Swap the table; the next query sees it."""

    def statistics(self) -> Mapping[tuple[str, str], int]:
        """Answers by (result, source).

        Results: noerror, nodata, nxdomain, servfail, refused, formerr. Sources: local, forwarded,
        cache (heard from an upstream before), stale (the same, past its time; upstreams failed).
        """
        ...

    def latency(self) -> Latency:
        """Of all answers, forwarded ones included."""
        ...

    def upstreams(self) -> Mapping[str, UpstreamCounts]:
        """By address; ``container``: all that containers brought, ``other``: beyond a bound."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """What was turned away or lost since the start.

        By reason: ``questions`` and ``sandbox`` (too many under way, in all and of one container),
        ``streams`` (too many connections of one), ``send`` (the container did not take the
        answer), ``guesses`` (datagrams to us that answer nothing we asked).
        """
        ...

    def cache_entries(self) -> int:
        """Answers of upstreams that are kept now."""
        ...
