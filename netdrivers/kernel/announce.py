"""Tells neighbours of an address that is new, so that none looks for it where it was before.

In the background: nothing waits for it, and what cannot be sent any more is not. On a wire that is
not ours somebody may have the address already. IPv6 finds that out itself; for IPv4 we ask before
we tell, three times within 0.6 s, which is bolder than RFC 5227: by then the container uses the
address, and all that hangs on the answer is that its owner's neighbours do not hear of us.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NoReturn, TypeVar

import trio

from netdrivers.errors import NetDriverError
from netdrivers.kernel import codec, ipcodec
from netdrivers.kernel.access import Access
from netdrivers.kernel.codec import LinkInfo
from netdrivers.kernel.frames import (
    ETH_P_ARP,
    ETH_P_IPV6,
    build_announcement,
    build_probe,
    parse_claim,
)
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.netns import open_pinned
from netdrivers.plan.diff import State
from netdrivers.plan.objects import Address, KernelObject, Macvlan
from netdrivers.plan.tunnels import Neighbour, Vxlan

TIMES: Final = 3
GAP_S: Final = 1.0
TICKS: Final = 6  # IPv6 looks for a double for up to 2 s first
PROBES: Final = 3
PROBE_S: Final = 0.2  # a neighbour answers in a millisecond
QUEUE: Final = 1024  # claims that wait for a place; the rest is not told, and counted
HAILS: Final = 64  # endpoints of other hosts that are told of at once
AT_ONCE: Final = 64  # sandboxes, each with one socket or two
CLOSE_S: Final = 5.0  # closing waits 20 ms for the kernel; the rest is for a busy host
UNSETTLED: Final = 0x40 | ipcodec.IFA_F_OPTIMISTIC | ipcodec.IFA_F_DADFAILED  # 0x40: tentative
RECEIVE_BYTES: Final = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An address that is new on a link of a sandbox, or of the host if that is "".

    ``on_wire``: of a wire that is not ours.
    """

    sandbox: str
    link: str
    ip: IPv4Address | IPv6Address
    on_wire: bool = False
    mac: bytes = b""  # who has it, if that is not the link


def find_hails(objects: Iterable[KernelObject], want: State) -> tuple[Claim, ...]:
    """Addresses of other hosts' endpoints among the objects, to be told on this host's bridges.

    Who asked for one before it was there asks again only after a second. None, if they are many:
    then a host begins to know a network, and nobody has waited for them. Pure.
    """
    found = []
    for obj in objects:
        tunnel = want.get(("link", "", obj.link)) if isinstance(obj, Neighbour) else None
        if isinstance(obj, Neighbour) and isinstance(tunnel, Vxlan):
            mac = bytes.fromhex(obj.mac.replace(":", ""))
            found.append(Claim(sandbox="", link=tunnel.bridge, ip=obj.ip, mac=mac))
    return tuple(found) if len(found) <= HAILS else ()


def find_claims(objects: Iterable[KernelObject], want: State) -> list[tuple[Claim, ...]]:
    """Addresses in sandboxes among the objects, a batch a sandbox. Pure."""
    found: dict[str, list[Claim]] = {}
    for obj in objects:
        if isinstance(obj, Address) and obj.ns:
            on_wire = isinstance(want.get(("link", obj.ns, obj.link)), Macvlan)
            claim = Claim(sandbox=obj.ns, link=obj.link, ip=obj.ip.ip, on_wire=on_wire)
            found.setdefault(obj.ns, []).append(claim)
    return [tuple(batch) for batch in found.values()]


@dataclass(slots=True)
class Mouth:
    """An open socket on the link of a claim."""

    claim: Claim
    index: int
    mac: bytes
    sock: socket.socket
    sent: int = 0


@dataclass(slots=True)
class Announcer:
    """Claims in, frames out; at most ``AT_ONCE`` sandboxes at a time."""

    access: Callable[[], Access]
    doubled: dict[Claim, str] = field(default_factory=dict)  # MAC of the neighbour who has it, too
    dropped: int = 0
    _waiting: deque[tuple[Claim, ...]] = field(default_factory=deque)
    _more: trio.Event = field(default_factory=trio.Event)
    _places: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(AT_ONCE))
    _thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    def add(self, batch: tuple[Claim, ...]) -> None:
        """Have new addresses of one sandbox told; never waits."""
        if len(self._waiting) >= QUEUE:
            self.dropped += len(batch)
        else:
            self._waiting.append(batch)
            self._more.set()

    def forget(self, want: State, sandboxes: frozenset[str] | None) -> None:
        """Of these sandboxes (None: all) doubled addresses that are not wanted are no more."""
        kept = {claim for batch in find_claims(want.values(), want) for claim in batch}
        for claim in list(self.doubled):
            if claim not in kept and (sandboxes is None or claim.sandbox in sandboxes):
                del self.doubled[claim]

    def notes(self) -> tuple[str, ...]:
        """Doubled addresses in words."""
        return tuple(
            f"address {claim.ip} in sandbox {claim.sandbox} is in use by a neighbour, too: {mac}"
            for claim, mac in self.doubled.items()
        )

    async def run(self) -> NoReturn:
        """Tell until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._more.wait()
                await self._places.acquire()
                batch = self._waiting.popleft()
                if not self._waiting:
                    self._more = trio.Event()
                nursery.start_soon(self._tell, batch)

    async def _tell(self, batch: Sequence[Claim]) -> None:
        """One batch to its end, or to that of its links."""
        mouths: list[Mouth] = []
        try:
            await self._off_loop(lambda: open_mouths(self.access(), batch, mouths))
            await self._speak(mouths)
        except (OSError, NetDriverError):
            return  # the sandbox or a link of it went: there is nothing to tell of any more
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await self._off_loop(lambda: _close(mouths))
            self._places.release()

    async def _speak(self, mouths: Sequence[Mouth]) -> None:
        asking = [each for each in mouths if _is_asked(each.claim)]
        for _ in range(PROBES if asking else 0):
            await self._off_loop(lambda: _ask(asking))
            await trio.sleep(PROBE_S)
        for each in asking:
            if mac := _hear(each):
                self.doubled[each.claim] = mac
        rest = [each for each in mouths if each.claim not in self.doubled]
        for _ in range(TICKS):
            await self._off_loop(lambda: _announce(self.access(), rest))
            if all(each.sent == TIMES for each in rest):
                return
            await trio.sleep(GAP_S)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._thread)


def open_mouths(access: Access, batch: Sequence[Claim], mouths: list[Mouth]) -> None:
    """A socket for each claim of one sandbox whose link is there; enters its namespace."""
    sandbox = batch[0].sandbox
    fd = open_pinned(access.pin(sandbox)) if sandbox else os.dup(access.namespaces.home)
    if fd is None:
        return
    try:
        with access.namespaces.inside(fd):
            links = _read_links()
            for claim in batch:
                if claim.link in links:
                    link = links[claim.link]
                    sock = _open_socket(claim)
                    mac = claim.mac or bytes.fromhex(link.mac.replace(":", ""))
                    mouths.append(Mouth(claim, link.index, mac, sock))
    finally:
        os.close(fd)


def _read_links() -> dict[str, LinkInfo]:
    netlink = Netlink(socket.NETLINK_ROUTE)
    with closing(netlink):
        links = [codec.parse_link(body) for _, body in netlink.dump(codec.dump_links())]
    return {link.name: link for link in links}


def _open_socket(claim: Claim) -> socket.socket:
    """Protocol 0 hears nothing; ARP only where somebody is asked."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, 0)
    if _is_asked(claim):
        sock.bind((claim.link, ETH_P_ARP))
    return sock


def _close(mouths: Iterable[Mouth]) -> None:
    for each in mouths:
        each.sock.close()


def _is_asked(claim: Claim) -> bool:
    return claim.on_wire and claim.ip.version == 4


def _ask(mouths: Iterable[Mouth]) -> None:
    for each in mouths:
        if isinstance(each.claim.ip, IPv4Address):
            _send(each, build_probe(each.mac, each.claim.ip))


def _hear(mouth: Mouth) -> str:
    """The MAC of a neighbour who said that the address is its own."""
    ip = mouth.claim.ip
    with suppress(BlockingIOError):
        while isinstance(ip, IPv4Address):
            if mac := parse_claim(mouth.sock.recv(RECEIVE_BYTES), mouth.mac, ip):
                return mac
    return ""


def _announce(access: Access, mouths: Iterable[Mouth]) -> None:
    """Tell once of each that is to be told of; of an address that is not settled not yet."""
    due = [each for each in mouths if each.sent < TIMES]
    unsettled = _read_unsettled(access, due)
    for each in due:
        if (each.index, each.claim.ip) not in unsettled:
            _send(each, build_announcement(each.mac, each.claim.ip))
            each.sent += 1


def _read_unsettled(
    access: Access, mouths: Sequence[Mouth]
) -> set[tuple[int, IPv4Address | IPv6Address]]:
    """IPv6 addresses that may be a neighbour's: until it knows, a host is to be quiet of them."""
    wired = [
        each.claim.sandbox for each in mouths if each.claim.on_wire and each.claim.ip.version == 6
    ]
    netlink = access.open_in(wired[0], lambda: Netlink(socket.NETLINK_ROUTE)) if wired else None
    if netlink is None:
        return set()
    with closing(netlink):
        found = [ipcodec.parse_address(body) for _, body in netlink.dump(ipcodec.dump_addresses())]
    return {(each.index, each.ip.ip) for each in found if each.flags & UNSETTLED}


def _send(mouth: Mouth, frame: bytes) -> None:
    kind = ETH_P_ARP if mouth.claim.ip.version == 4 else ETH_P_IPV6
    mouth.sock.sendto(frame, (mouth.claim.link, kind))
