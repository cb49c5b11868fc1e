"""Asks, looks, probes, looks again, judges: the shell around what is pure. Changes nothing."""

import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec
import trio

from netdrivers.contract.explain import Asked, Explanation, Hop
from netdrivers.contract.specs import Desired, IPAddress
from netdrivers.dns.records import Records
from netdrivers.errors import Unavailable
from netdrivers.explain import far
from netdrivers.explain.errand import Errand, Space, Tidings
from netdrivers.explain.facts import Facts, Heard
from netdrivers.explain.judge import judge
from netdrivers.explain.look import read_facts, read_host_ips
from netdrivers.explain.resolve import ask_server
from netdrivers.explain.trip import Trip, build_trip
from netdrivers.kernel.access import Access

if TYPE_CHECKING:
    import subprocess  # noqa: TID251  the type of what trio answers

T = TypeVar("T")
ARGV: Final = (sys.executable, "-P", "-m", "netdrivers.explain.probe")
PROBES: Final = 2  # children at once: each is 40 MB and half a second of a processor
PROBE_S: Final = 20.0  # for the child: 2.5 s of waiting, and a start on a busy machine
FIRST_TAG: Final = 61000  # above the ephemeral ports, so nobody's
TAGS: Final = 2000


class OffLoop(Protocol):
    """Runs work on the kernel in the engine's thread."""

    def __call__(self, work: Callable[[Access], T], /) -> Awaitable[T]: ...


class Explainer:
    """One question at a time may be many at once: nothing is shared but the number of children."""

    def __init__(self, off_loop: OffLoop) -> None:
        self._off_loop = off_loop
        self._children = trio.CapacityLimiter(PROBES)

    async def explain(self, desired: Desired, asked: Asked) -> Explanation:
        """Answer one question."""
        asked = look_up(asked)
        heard = await self._ask_names(desired, asked)
        if not asked.addresses and heard is not None:
            asked = replace(asked, addresses=heard.answers)
        if not asked.addresses:
            return _unknown(asked, heard)
        host_ips = await self._off_loop(read_host_ips)
        trip = build_trip(asked, desired, host_ips)
        before = await self._off_loop(partial(read_facts, trip=trip))
        before = replace(before, heard=heard)
        if not asked.probe or asked.source is None:
            return judge(trip, before)
        errand = await self._off_loop(lambda access: _errand(access, trip, before))
        tidings = await self._probe(errand) if errand is not None else None
        after = await self._off_loop(partial(read_facts, trip=trip))
        return judge(trip, before, replace(after, heard=heard, tidings=tidings))

    async def _ask_names(self, desired: Desired, asked: Asked) -> Heard | None:
        """Ask the name server of the source, from where the source would."""
        if not asked.name or not asked.source or not asked.probe:
            return None
        spec = desired.sandboxes.get(asked.source)
        if spec is None or not spec.dns_port:
            return None
        pin = await self._off_loop(lambda access: access.pin(str(asked.source)))
        return await ask_server(pin, asked.name, asked.addresses)

    async def _probe(self, errand: Errand) -> Tidings:
        """Run the child; it is killed when the caller gives up.

        Raises:
            Unavailable: it failed, took too long, or scapy is not installed.
        """
        async with self._children:
            with trio.move_on_after(PROBE_S):
                done = await trio.run_process(
                    ARGV,
                    env=_environment(),
                    stdin=msgspec.json.encode(errand),
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
                return _read(done)
        raise Unavailable("the probe takes too long; ask with --no-probe", seconds=PROBE_S)


def _environment() -> dict[str, str]:
    """Ours; the child finds its modules where we found ours, and nowhere else (``-P``)."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _read(done: "subprocess.CompletedProcess[bytes]") -> Tidings:
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(
            "the probe could not be run; ask with --no-probe",
            reason=words[-1] if words else f"exit {done.returncode}",
        )
    return msgspec.json.decode(done.stdout, type=Tidings)


def look_up(asked: Asked) -> Asked:
    """Find the name as the source's name server would, in the same table."""
    if not asked.name or asked.table is None or not asked.source:
        return asked
    match = Records(asked.table, asked.source).find(asked.name.lower().rstrip("."))
    if match is None:
        return asked
    bearers = [bearer for group in match.groups for bearer in group if bearer.host.is_up]
    if not bearers:
        return replace(asked, no_name=asked.no_name or "nobody of that name runs")
    usable = [bearer for group in match.usable for bearer in group]
    found = dict.fromkeys(ip for each in usable or bearers for ip in each.host.addresses)
    unready = "" if usable else "nobody of that name is ready: look at the health of the container"
    return replace(asked, addresses=tuple(found), no_name=unready)


def _unknown(asked: Asked, heard: Heard | None) -> Explanation:
    why = asked.no_name or (heard.error if heard else "") or "no address"
    what, where = asked.name or asked.target_name, asked.source_name
    hop = Hop(place="name", where=where, what=what, state="fails", why=why)
    summary = f"{where} to {asked.target_name}: not reachable: name of {where} ({what}): {why}"
    return Explanation(reachable=False, summary=summary, hops=(hop,))


def _errand(access: Access, trip: Trip, facts: Facts) -> Errand | None:
    """What to send; None when the source has no address to send from."""
    source = facts.spaces[trip.asked.source or ""]
    own: IPAddress | None = source.to.source
    if own is None or not source.has_address(own):
        own = trip.source_ip if trip.source_ip and source.has_address(trip.source_ip) else None
    if own is None:
        return None
    near, target = trip.near, trip.far
    swallows = trip.asked.protocol == "udp" and bool(trip.target) and not trip.is_local
    of_host = [end.veth for end in (near, target) if end] + [
        end.bridge for end in (near, target) if end
    ]
    links = (
        {"": [link for link in dict.fromkeys(of_host) if link in facts.spaces[""].links]}
        if ("" in facts.spaces)
        else {}
    )
    # a thread that starts a child may be in another namespace than the engine's
    home = f"/proc/{os.getpid()}/fd/{access.namespaces.home}"
    spaces = []
    for sandbox in trip.sandboxes:
        if sandbox in facts.spaces:
            inner = [
                end.spec.interface
                for end in (near, target)
                if end and end.spec.sandbox_id == sandbox
            ]
            known = [link for link in inner if link in facts.spaces[sandbox].links]
            spaces.append(
                Space(
                    id=sandbox,
                    path=str(access.pin(sandbox)) if sandbox else home,
                    links=known if sandbox else links.get("", []),
                    swallow=swallows and sandbox == trip.target,
                )
            )
    return Errand(
        spaces=spaces,
        source=str(own),
        target=str(trip.aim),
        protocol=trip.asked.protocol,
        port=trip.asked.port,
        tag=FIRST_TAG + 2 * secrets.randbelow(TAGS),
        big_bytes=far.big_bytes(trip, facts),
    )
