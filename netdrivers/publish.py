"""Host ports held by bound sockets: who else wants one is told so now, by the kernel.

The sockets never listen and never read: our table leads the packets away before they get here.
"""

import os
import resource
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from errno import EADDRINUSE, EADDRNOTAVAIL, EINVAL, EMFILE, ENFILE, EPROTONOSUPPORT
from typing import Final

import trio

from netdrivers.contract.specs import IPAddress, PublishedPort
from netdrivers.errors import Conflict, Exhausted, Invalid, NetDriverError, Refused
from netdrivers.keep import Keep, Wanted, netns_cookie, port_name
from netdrivers.kernel.holders import Holder, read_clash

Held = tuple[str, IPAddress, int]
KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}
CHUNK: Final = 64  # ports bound before others have their turn: 1 ms (2026-11)
SPARE: Final = 512  # descriptors that ports leave to connections and containers; a guess
PICK_TRIES: Final = 64  # numbers tried where the kernel cannot choose one


class HostPorts:
    """The ports this agent holds in the namespace that ``enter`` leads to.

    A socket that a former agent left in ``keep`` is taken over: the port is free at no instant.
    """

    def __init__(
        self, enter: Callable[[], AbstractContextManager[None]], keep: Keep | None = None
    ) -> None:
        self._enter = enter
        self._keep = keep or Keep()
        self._cookie: int | None = None  # of that namespace, once it was asked for
        # None: the kernel has no such sockets, so nobody on this host can want the port but we
        self._held: dict[Held, socket.socket | None] = {}
        self._addresses: dict[tuple[str, int], set[IPAddress]] = {}
        self._asking = trio.CapacityLimiter(1)

    async def hold(self, ports: Iterable[PublishedPort]) -> None:
        """Bind all or none.

        Raises:
            Conflict: a port is taken, with host_ip, host_port and protocol; held_ip if by us,
                pid and command if by a process that can be found.
        """
        taken: list[Held] = []
        try:
            for count, port in enumerate(ports, start=1):
                key: Held = (port.protocol, port.host_ip, port.host_port)
                await self._take(key)
                taken.append(key)
                if count % CHUNK == 0:
                    await trio.lowlevel.checkpoint()
        except BaseException:
            for key in taken:
                self._let_go(key)
            raise

    def pick(self, protocol: str, host_ip: IPAddress) -> int:
        """Hold a port of the kernel's ephemeral range, the reserved ones left out."""
        for _ in range(PICK_TRIES):
            sock = self._bind(protocol, host_ip, 0)
            port = int(sock.getsockname()[1]) if sock else self._ephemeral(host_ip)
            if self._clash(protocol, host_ip, port) is None:
                self._add((protocol, host_ip, port), sock)
                return port
            if sock:
                sock.close()
        raise Exhausted("no port left", host_ip=host_ip, protocol=protocol)

    def _ephemeral(self, host_ip: IPAddress) -> int:
        """A number as the kernel chooses them, for a protocol that it cannot bind."""
        with self._open("udp", host_ip) as sock:
            _try_bind(sock, "udp", host_ip, 0)
            return int(sock.getsockname()[1])

    def release(self, ports: Iterable[PublishedPort]) -> None:
        """Close the sockets of these ports."""
        for port in ports:
            self._let_go((port.protocol, port.host_ip, port.host_port))

    def is_bound(self, port: PublishedPort) -> bool:
        """Whether a socket of ours has the port."""
        return self._held.get((port.protocol, port.host_ip, port.host_port)) is not None

    def close(self) -> None:
        """Close all, as the agent ends: what was told to ``keep`` stays wanted."""
        for sock in self._held.values():
            if sock is not None:
                sock.close()
        self._held.clear()
        self._addresses.clear()

    # --- one port ---------------------------------------------------------------------------

    async def _take(self, key: Held) -> None:
        try:
            self._take_nowait(key)
        except Conflict as exc:
            if "held_ip" in exc.fields:
                raise
            clash = await trio.to_thread.run_sync(
                read_clash, self._enter(), *key, limiter=self._asking
            )
            if not clash.leftovers:
                raise _conflict(key, clash.holder) from exc
            try:
                self._take_nowait(key, over_leftovers=True)
            except Conflict as again:
                raise _conflict(key, clash.holder, again.fields) from again

    def _take_nowait(self, key: Held, *, over_leftovers: bool = False) -> None:
        ours = self._clash(*key)
        if ours is not None:
            raise _conflict(key, None, {"held_ip": ours})
        self._add(key, self._taken_over(key) or self._bind(*key, over_leftovers=over_leftovers))

    def _clash(self, protocol: str, host_ip: IPAddress, port: int) -> IPAddress | None:
        """The address by which we have the port already."""
        there = self._addresses.get((protocol, port), ())
        for ip in there:
            if ip.version == host_ip.version and (
                ip == host_ip or ip.is_unspecified or host_ip.is_unspecified
            ):
                return ip
        return None

    def _taken_over(self, key: Held) -> socket.socket | None:
        protocol, host_ip, port = key
        if protocol not in KINDS:
            return None
        if self._cookie is None:
            with self._enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
                self._cookie = netns_cookie(here)
        wanted = Wanted(type=KINDS[protocol][0], address=(str(host_ip), port), cookie=self._cookie)
        return self._keep.take(port_name(*key), wanted)

    def _add(self, key: Held, sock: socket.socket | None) -> None:
        protocol, ip, port = key
        self._held[key] = sock
        if sock is not None:
            self._keep.put(port_name(*key), sock.fileno())
        self._addresses.setdefault((protocol, port), set()).add(ip)

    def _let_go(self, key: Held) -> None:
        if key not in self._held:
            return
        sock = self._held.pop(key)
        protocol, ip, port = key
        rest = self._addresses[protocol, port]
        rest.discard(ip)
        if not rest:
            del self._addresses[protocol, port]
        if sock is not None:
            sock.close()
            self._keep.drop(port_name(*key))

    def _bind(
        self, protocol: str, host_ip: IPAddress, port: int, *, over_leftovers: bool = False
    ) -> socket.socket | None:
        """A bound socket; None where the kernel has no SCTP, and so nobody who could bind it."""
        try:
            sock = self._open(protocol, host_ip)
        except OSError as exc:
            if protocol == "sctp" and exc.errno == EPROTONOSUPPORT:
                return None
            raise _translate(exc, protocol, host_ip, port) from exc
        # SO_REUSEADDR only over connections that outlived their server, and only while we bind:
        # with it on both sides a second holder could bind and listen
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(over_leftovers))
        _try_bind(sock, protocol, host_ip, port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return sock

    def _open(self, protocol: str, host_ip: IPAddress) -> socket.socket:
        if protocol not in KINDS:
            raise Invalid("protocol must be tcp, udp or sctp", protocol=protocol)
        family = socket.AF_INET if host_ip.version == 4 else socket.AF_INET6
        with self._enter():
            sock = socket.socket(family, *KINDS[protocol])
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if sock.fileno() >= limit - min(SPARE, limit // 4):
            sock.close()
            raise OSError(EMFILE, os.strerror(EMFILE))
        if family == socket.AF_INET6:  # [::]:80 and 0.0.0.0:80 are two ports, held apart
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock


def _try_bind(sock: socket.socket, protocol: str, host_ip: IPAddress, port: int) -> None:
    try:
        sock.bind((str(host_ip), port))
    except OSError as exc:
        sock.close()
        raise _translate(exc, protocol, host_ip, port) from exc


def _conflict(
    key: Held, holder: Holder | None, further: dict[str, object] | None = None
) -> Conflict:
    protocol, host_ip, host_port = key
    fields: dict[str, object] = {
        "host_ip": host_ip, "host_port": host_port, "protocol": protocol, **(further or {}),
    }  # fmt: skip
    if holder is not None:
        fields |= {"pid": holder.pid, "command": holder.command}
    return Conflict("address already in use", **fields)


def _translate(exc: OSError, protocol: str, host_ip: IPAddress, port: int) -> NetDriverError:
    fields: dict[str, object] = {"host_ip": host_ip, "host_port": port, "protocol": protocol}
    if exc.errno == EADDRINUSE:
        return (
            _conflict((protocol, host_ip, port), None)
            if port
            else Exhausted("no port left", **fields)
        )
    if exc.errno == EADDRNOTAVAIL:
        return Invalid("this host does not have the address", **fields)
    if exc.errno == EINVAL and host_ip.is_link_local:
        return Invalid("a link-local address of IPv6 cannot be published on", **fields)
    if exc.errno in {EMFILE, ENFILE}:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return Exhausted(
            "no descriptor left for a published port; raise the agent's limit of open files"
            " (LimitNOFILE= of its unit, or ulimit -Hn)",
            **fields,
            limit=limit,
        )
    return Refused("hold a host port", reason=os.strerror(exc.errno or 0), **fields)
