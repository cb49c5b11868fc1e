"""VXLAN links of overlays and their entries: how they are made, and what is there."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from itertools import groupby
from typing import Final

from netdrivers.errors import Refused
from netdrivers.kernel import codec, neighcodec
from netdrivers.kernel.access import Access
from netdrivers.kernel.asking import ask_links, check, forgiven, make_link
from netdrivers.kernel.codec import LinkChange, LinkInfo, Request
from netdrivers.kernel.netlink import Netlink
from netdrivers.plan.objects import KernelObject
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op
from netdrivers.plan.tunnels import FdbEntry, Neighbour, Vxlan

NOWHERE: Final = IPv6Address(0)
SEALED: Final = "the encrypted way to other hosts is not there, so nothing is sent"


def change_vxlan(access: Access, op: Op, obj: Vxlan) -> None:
    """Make the link or set what is different.

    Raises:
        Refused: the sealed namespace is not there, or the kernel said no.
    """
    was = op.was
    if op.verb == "change" and isinstance(was, Vxlan) and _tunnel(was) == _tunnel(obj):
        check(access.host.route, _settings(access, obj), op)
        return
    if op.verb == "change":
        # what it is cannot be changed: its entries go, and come with the next look
        access.host.route.ask([codec.delete_link(obj.name)])
    _add(access, op, obj)


def _add(access: Access, op: Op, obj: Vxlan) -> None:
    made = neighcodec.add_vxlan(
        obj.name, vni=obj.vni, local=obj.local, port=obj.port, mtu_bytes=obj.mtu_bytes
    )
    if obj.sealed:
        made = codec.born_in(made, access.namespaces.home)
        netlink = access.open_sealed()
        if netlink is None:
            raise Refused(SEALED, op=render_op(op))
    else:
        netlink = access.host.route
    try:
        (reply,) = netlink.ask([made])
    finally:
        if obj.sealed:
            netlink.close()
    if reply.errno:
        raise Refused(f"the kernel refused: {reply.text}", op=render_op(op))
    failed, _ = make_link(access.host.route, _settings(access, obj), obj.name)
    if failed is not None:
        access.host.route.ask([codec.delete_link(obj.name)])
        raise Refused(f"the kernel refused: {failed.text}", op=render_op(op))


def _settings(access: Access, obj: Vxlan) -> list[Request]:
    master = next((link.index for link in ask_links(access.host, [obj.bridge])), 0)
    change = LinkChange(
        alias=access.alias(obj.owner),
        mtu_bytes=obj.mtu_bytes,
        master=master,
        ipv6=codec.settable_mode(False, obj.mtu_bytes),
        up=obj.up,
    )
    return codec.set_link(obj.name, change)


def _tunnel(obj: Vxlan) -> tuple[object, ...]:
    return (obj.owner, obj.vni, obj.local, obj.port, obj.sealed)


def change_entries(access: Access, ops: Sequence[Op], done: list[Op]) -> None:
    """Entries of any number of links, in as few writes as the socket takes."""
    for link, group in groupby(ops, key=lambda op: _link(op)):
        todo = list(group)
        index = next((each.index for each in ask_links(access.host, [link])), 0)
        _send(access.host.route, todo, index, done)


def _send(netlink: Netlink, ops: Sequence[Op], index: int, done: list[Op]) -> None:
    failed: list[Refused] = []
    replies = netlink.ask([_request(op, index) for op in ops])
    for op, reply in zip(ops, replies, strict=True):
        if reply.errno and not forgiven(op, reply.errno):
            failed.append(Refused(f"the kernel refused: {reply.text}", op=render_op(op)))
        else:
            done.append(op)
    if failed:
        raise failed[0]


def _link(op: Op) -> str:
    return op.obj.link if isinstance(op.obj, FdbEntry | Neighbour) else ""


def _request(op: Op, index: int) -> Request:
    if isinstance(op.obj, FdbEntry):
        return neighcodec.fdb_entry(op.verb, index, op.obj.mac, op.obj.vtep)
    if isinstance(op.obj, Neighbour):
        return neighcodec.neighbour(op.verb, index, op.obj.ip, op.obj.mac)
    raise Refused("no way to do this", op=render_op(op))


# --- what is there -------------------------------------------------------------------------------


def find_vxlan(
    access: Access, link: LinkInfo, owner: str, names: Mapping[int, str]
) -> Iterator[KernelObject]:
    """A VXLAN link of ours as it is, and its entries."""
    info = neighcodec.parse_vxlan(link.tunnel)
    is_ours = info.local is not None and info.quiet
    yield Vxlan(
        name=link.name,
        owner=owner,
        bridge=names.get(link.master, ""),
        vni=info.vni if is_ours else 0,  # one that learns, or has no end of its own, is made anew
        local=info.local or NOWHERE,
        port=info.port,
        mtu_bytes=link.mtu_bytes,
        sealed=link.elsewhere,
        up=link.up,
    )
    yield from _entries(access, link, owner)


def _entries(access: Access, link: LinkInfo, owner: str) -> Sequence[FdbEntry | Neighbour]:
    """Those of one link: from memory if nothing was said of any link here, 10,000 take 60 ms."""
    heard, known = access.tunnels.get(link.index, (-1, ()))
    if heard != access.host.heard:
        heard = access.host.heard  # before reading: what is heard meanwhile makes it old
        known = tuple(_read_entries(access.host.route, link, owner))
        access.tunnels[link.index] = (heard, known)
    return known


def _read_entries(netlink: Netlink, link: LinkInfo, owner: str) -> Iterator[FdbEntry | Neighbour]:
    for request in (neighcodec.dump_fdb(link.index), neighcodec.dump_neighbours(link.index)):
        for _, body in netlink.dump(request):
            found = neighcodec.parse_neigh(body)
            if found is None or found.index != link.index:
                continue
            if found.is_fdb:
                yield FdbEntry(link=link.name, mac=found.mac, vtep=found.address, owner=owner)
            else:
                yield Neighbour(link=link.name, ip=found.address, mac=found.mac, owner=owner)
