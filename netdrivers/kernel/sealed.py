"""The sealed namespace: sealed tunnels live in it, and its one way out is the encrypting device.

Nothing else is in there, so what is sent without the device has no route, and a clear packet that
comes to this host finds no socket: no rule is needed for that, and none can be flushed.
"""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Final, TypeVar

from netdrivers.errors import Refused, Unavailable
from netdrivers.kernel import codec, ipcodec, wgcodec
from netdrivers.kernel.codec import LinkChange, LinkInfo, Request
from netdrivers.kernel.ipcodec import RouteInfo
from netdrivers.kernel.netlink import Netlink
from netdrivers.kernel.netns import Namespaces, open_pinned

T = TypeVar("T")

GENERIC: Final = 16  # NETLINK_GENERIC
NO_KERNEL_DEVICE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOENT})


@dataclass(slots=True)
class Sealed:
    """All calls block for a moment: call them in a thread, one at a time."""

    pin: Path
    name: str  # of the device
    prefix: IPv6Network  # of the addresses of all hosts inside
    namespaces: Namespaces

    # --- the namespace -------------------------------------------------------------------------

    def ensure(self) -> None:
        """Make the namespace if it is not there."""
        fd = open_pinned(self.pin)
        if fd is None:
            self.namespaces.create(self.pin)
            return
        os.close(fd)

    def remove(self) -> None:
        """Take the namespace away, and with it what is in it."""
        self.namespaces.remove(self.pin)

    def enter(self, act: Callable[[], T]) -> T:
        """Do something in the namespace. Unavailable: it is not there."""
        fd = open_pinned(self.pin)
        if fd is None:
            raise Unavailable("the sealed namespace is not there", path=self.pin)
        try:
            with self.namespaces.inside(fd):
                return act()
        finally:
            os.close(fd)

    def _inside(self, protocol: int) -> Netlink:
        return self.enter(lambda: Netlink(protocol))

    def _home(self) -> Netlink:
        with self.namespaces.inside(self.namespaces.home):
            return Netlink(socket.NETLINK_ROUTE)

    # --- the device ----------------------------------------------------------------------------

    def find(self) -> LinkInfo | None:
        """The device, if it is in the namespace."""
        with closing(self._inside(socket.NETLINK_ROUTE)) as netlink:
            return _find(netlink, self.name)

    def add_kernel_device(self) -> bool:
        """Make the kernel's own device; its packets leave from here. False: it has none."""
        fd = open_pinned(self.pin)
        if fd is None:
            raise Unavailable("the sealed namespace is not there", path=self.pin)
        made = codec.born_in(codec.add_lower(self.name, kind="wireguard"), fd)
        with closing(self._home()) as netlink:
            (reply,) = netlink.ask([made])
        os.close(fd)
        if reply.errno in NO_KERNEL_DEVICE:
            return False
        if reply.errno not in {0, errno.EEXIST}:
            raise Refused(f"the kernel refused: {reply.text}", link=self.name)
        return True

    def take_in(self) -> None:
        """Move a device that a program has made here into the namespace."""
        fd = open_pinned(self.pin)
        if fd is None:
            raise Unavailable("the sealed namespace is not there", path=self.pin)
        body = codec.BY_NAME + codec.attr(codec.IFLA_IFNAME, self.name.encode() + b"\0")
        body += codec.attr(codec.IFLA_NET_NS_FD, codec.U32.pack(fd))
        move = Request(codec.SETLINK, codec.REQUEST | codec.ACK, body)
        with closing(self._home()) as netlink:
            (reply,) = netlink.ask([move])
        os.close(fd)
        if reply.errno:
            raise Refused(f"the kernel refused: {reply.text}", link=self.name)

    def set_up(self, address: IPv6Address, mtu_bytes: int) -> bool:
        """Address, MTU and route of the device; False if all was as it should be."""
        with closing(self._inside(socket.NETLINK_ROUTE)) as netlink:
            link = _find(netlink, self.name)
            if link is None:
                raise Unavailable("the encrypting device is not there", link=self.name)
            todo = [] if link.up and link.mtu_bytes == mtu_bytes else self._settings(mtu_bytes)
            todo += self._addressing(netlink, link.index, address)
            for reply in netlink.ask(todo):
                if reply.errno:
                    raise Refused(f"the kernel refused: {reply.text}", link=self.name)
            return bool(todo)

    def _settings(self, mtu_bytes: int) -> list[Request]:
        return codec.set_link(self.name, LinkChange(mtu_bytes=mtu_bytes, ipv6=False, up=True))

    def _addressing(self, netlink: Netlink, index: int, address: IPv6Address) -> list[Request]:
        wanted = IPv6Interface((address, 128))
        found = [
            ipcodec.parse_address(body) for _, body in netlink.dump(ipcodec.dump_addresses(index))
        ]
        routes = [ipcodec.parse_route(body) for _, body in netlink.dump(ipcodec.dump_routes_of(6))]
        todo = [ipcodec.delete_address(index, each.ip) for each in found if each.ip != wanted]
        if not any(each.ip == wanted for each in found):
            todo.append(ipcodec.add_address(index, wanted))
        route = RouteInfo(to=self.prefix, via=None, index=index, table=ipcodec.RT_TABLE_MAIN,
                          protocol=ipcodec.OUR_PROTOCOL)  # fmt: skip
        if route not in routes:
            todo.append(ipcodec.add_route(route, replace=True))
        return todo

    # --- the kernel's WireGuard ----------------------------------------------------------------

    def ask_kernel(self, requests: list[Request]) -> None:
        """Set what the requests say; each names the device."""
        with closing(self._inside(GENERIC)) as netlink:
            for reply in netlink.ask(requests):
                if reply.errno:
                    raise Refused(f"the kernel refused: {reply.text}", link=self.name)

    def family(self) -> int:
        """The number of the kernel's WireGuard; 0 where it has none."""
        with closing(self._inside(GENERIC)) as netlink:
            (reply,) = netlink.ask([wgcodec.find_family()])
        return wgcodec.parse_family(reply.messages[0][1]) if reply.messages else 0

    def read_kernel(self, family: int) -> list[wgcodec.WgDevice]:
        """What the kernel says of the device."""
        with closing(self._inside(GENERIC)) as netlink:
            found = netlink.dump(wgcodec.get_device(family, self.name))
        return [wgcodec.parse_device(body) for _, body in found]


def _find(netlink: Netlink, name: str) -> LinkInfo | None:
    (reply,) = netlink.ask([codec.get_link(name)])
    return codec.parse_link(reply.messages[0][1]) if reply.messages else None
