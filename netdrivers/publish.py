"""Host ports held by bound sockets: who else wants one is told so now, by the kernel.

The sockets never listen and never read: our table leads the packets away before they get here.
"""

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from errno import EADDRINUSE, EADDRNOTAVAIL, EMFILE
from typing import Final

from netdrivers.contract import IPAddress, PublishedPort
from netdrivers.errors import Conflict, Exhausted, Invalid, Refused
from netdrivers.keep import Keep, Wanted, netns_cookie, port_name

Held = tuple[str, IPAddress, int]
KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}


class HostPorts:
    """The ports this agent holds in the namespace that ``enter`` leads to.

    A socket that a former agent left in ``keep`` is taken over: the port is free at no instant.
    """

    def __init__(
        self, enter: Callable[[], AbstractContextManager[None]], keep: Keep | None = None
    ) -> None:
        self._enter = enter
        self._keep = keep or Keep()
        self._held: dict[Held, socket.socket] = {}

    def hold(self, ports: Iterable[PublishedPort]) -> None:
        """Bind all or none.

        Raises:
            Conflict: a port is taken, here or elsewhere, with host_ip, host_port and protocol.
        """
        taken: list[Held] = []
        try:
            for port in ports:
                key: Held = (port.protocol, port.host_ip, port.host_port)
                self._add(key, self._open(*key))
                taken.append(key)
        except BaseException:
            for key in taken:
                self._let_go(key)
            raise

    def pick(self, protocol: str, host_ip: IPAddress) -> int:
        """Bind a port of the kernel's ephemeral range and hold it."""
        sock = self._bind(protocol, host_ip, 0)
        port = int(sock.getsockname()[1])
        self._add((protocol, host_ip, port), sock)
        return port

    def release(self, ports: Iterable[PublishedPort]) -> None:
        """Close the sockets of these ports."""
        for port in ports:
            self._let_go((port.protocol, port.host_ip, port.host_port))

    def close(self) -> None:
        """Close all, as the agent ends: what was told to ``keep`` stays wanted."""
        for sock in self._held.values():
            sock.close()
        self._held.clear()

    def _add(self, key: Held, sock: socket.socket) -> None:
        self._held[key] = sock
        self._keep.put(port_name(*key), sock.fileno())

    def _let_go(self, key: Held) -> None:
        sock = self._held.pop(key, None)
        if sock is not None:
            sock.close()
            self._keep.drop(port_name(*key))

    def _open(self, protocol: str, host_ip: IPAddress, port: int) -> socket.socket:
        return self._taken_over(protocol, host_ip, port) or self._bind(protocol, host_ip, port)

    def _taken_over(self, protocol: str, host_ip: IPAddress, port: int) -> socket.socket | None:
        if protocol not in KINDS or (protocol, host_ip, port) in self._held:
            return None
        with self._enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            cookie = netns_cookie(here)
        wanted = Wanted(type=KINDS[protocol][0], address=(str(host_ip), port), cookie=cookie)
        return self._keep.take(port_name(protocol, host_ip, port), wanted)

    def _bind(self, protocol: str, host_ip: IPAddress, port: int) -> socket.socket:
        if (protocol, host_ip, port) in self._held:
            raise _conflict(protocol, host_ip, port)
        sock = self._socket(protocol, host_ip)
        try:
            sock.bind((str(host_ip), port))
        except OSError as exc:
            sock.close()
            raise _translate(exc, protocol, host_ip, port) from exc
        return sock

    def _socket(self, protocol: str, host_ip: IPAddress) -> socket.socket:
        if protocol not in KINDS:
            raise Invalid("protocol must be tcp, udp or sctp", protocol=protocol)
        family = socket.AF_INET if host_ip.version == 4 else socket.AF_INET6
        try:
            with self._enter():
                sock = socket.socket(family, *KINDS[protocol])
        except OSError as exc:
            raise _translate(exc, protocol, host_ip, 0) from exc
        if family == socket.AF_INET6:  # [::]:80 and 0.0.0.0:80 are two ports, held apart
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # no SO_REUSEADDR: with it on both sides a second holder could bind and listen
        return sock


def _conflict(protocol: str, host_ip: IPAddress, port: int) -> Conflict:
    return Conflict("address already in use", host_ip=host_ip, host_port=port, protocol=protocol)


def _translate(
    exc: OSError, protocol: str, host_ip: IPAddress, port: int
) -> Conflict | Exhausted | Invalid | Refused:
    fields = {"host_ip": host_ip, "host_port": port, "protocol": protocol}
    if exc.errno == EADDRINUSE:
        return _conflict(protocol, host_ip, port) if port else Exhausted("no port left", **fields)
    if exc.errno == EADDRNOTAVAIL:
        return Invalid("this host does not have the address", **fields)
    if exc.errno == EMFILE:
        return Exhausted("no descriptor left for a published port", **fields)
    return Refused("hold a host port", reason=os.strerror(exc.errno or 0), **fields)
