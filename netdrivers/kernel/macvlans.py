"""Steps for macvlans and the links they hang on."""

import sys
from collections.abc import Sequence
from errno import EINVAL, EOPNOTSUPP
from typing import Final

from netdrivers.errors import Busy, Conflict, Missing, Refused, Unavailable
from netdrivers.kernel import codec
from netdrivers.kernel.access import Access, Way
from netdrivers.kernel.asking import ask_links, check
from netdrivers.kernel.codec import LinkChange, LinkInfo, Request
from netdrivers.plan.objects import Macvlan, Parent
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op

MODULES: Final = {"vlan": "8021q", "dummy": "dummy", "macvlan": "macvlan"}


def change_lower(access: Access, op: Op, obj: Parent | Macvlan) -> None:
    """Make the link or set what is different.

    Raises:
        Missing: the parent link is not there. Conflict: it is another network's.
        Unavailable: the kernel lacks the module. Busy: a passthru link has the parent alone.
    """
    if isinstance(obj, Parent):
        _change_parent(access, op, obj)
    else:
        _change_macvlan(access, op, obj)


def _change_parent(access: Access, op: Op, obj: Parent) -> None:
    up = codec.set_link(obj.name, LinkChange(alias=access.alias(obj.owner), up=obj.up))
    if op.verb == "change":
        if isinstance(op.was, Parent) and op.was.owner != obj.owner:
            raise Conflict(
                "the parent link belongs to another network of ours",
                option="parent",
                parent=obj.name,
                network=op.was.owner,
            )
        check(access.host.route, up, op)
        return
    if not obj.kind:
        raise missing_parent(obj.name)
    lower = _find(access, obj.lower).index if obj.lower else 0
    data = codec.attr(codec.VLAN_ID, obj.vlan_id.to_bytes(2, sys.byteorder)) if obj.vlan_id else b""
    made = codec.add_lower(obj.name, kind=obj.kind, data=data, lower=lower)
    _make(access, [made, *up], obj.name, op)


def _change_macvlan(access: Access, op: Op, obj: Macvlan) -> None:
    if op.verb == "add":
        _add(access, op, obj)
    elif isinstance(op.was, Macvlan) and _same(op.was, obj):
        mtu = obj.mtu_bytes or _find(access, obj.parent).mtu_bytes
        change = LinkChange(mac=obj.mac, mtu_bytes=mtu, ipv6=obj.ipv6, up=obj.up)
        check(_way(access, obj.ns).route, codec.set_link(obj.name, change), op)
    else:
        _way(access, obj.ns).route.ask([codec.delete_link(obj.name)])
        _add(access, op, obj)


def missing_parent(name: str) -> Missing:
    """The error for a network whose parent link is not there."""
    return Missing(
        "the network's parent link is not there: make it, or name another", option="parent",
        parent=name,
    )  # fmt: skip


def _add(access: Access, op: Op, obj: Macvlan) -> None:
    way = _way(access, obj.ns)
    change = LinkChange(
        alias=access.alias(obj.mark),
        mac=obj.mac,  # again: in passthru mode the parent's was taken
        ipv6=obj.ipv6,
        up=obj.up,
    )
    made = codec.add_lower(
        obj.name,
        kind="macvlan",
        data=codec.attr(codec.MACVLAN_MODE, codec.U32.pack(codec.MODES[obj.mode])),
        lower=_find(access, obj.parent).index,
        mac=obj.mac,
        mtu_bytes=obj.mtu_bytes,
    )
    if not obj.ns:
        _make(access, [made, *codec.set_link(obj.name, change)], obj.name, op)
        return
    for _ in ask_links(way, [obj.name]):  # half made: the snapshot has seen that it is ours
        way.route.ask([codec.delete_link(obj.name)])
    _make(access, [codec.born_in(made, way.fd)], obj.name, op)
    try:
        check(way.route, codec.set_link(obj.name, change), op)
    except Refused:
        way.route.ask([codec.delete_link(obj.name)])
        raise


def _make(access: Access, requests: Sequence[Request], name: str, op: Op) -> None:
    made, *rest = access.host.route.ask(requests)
    if made.errno:
        raise _refusal(made.errno, made.text, op)
    for reply in rest:
        if reply.errno:
            access.host.route.ask([codec.delete_link(name)])
            raise _refusal(reply.errno, reply.text, op)


def _refusal(errno: int, text: str, op: Op) -> Exception:
    kind = op.obj.kind if isinstance(op.obj, Parent) else "macvlan"
    if errno == EOPNOTSUPP:
        return Unavailable(
            f"the kernel has no {kind} links", module=MODULES[kind], op=render_op(op)
        )
    if errno == EINVAL and isinstance(op.obj, Macvlan):
        return Busy(
            "the kernel refused: a passthru link has its parent alone, and no MTU may exceed "
            "that of the parent",
            option="macvlan_mode",
            op=render_op(op),
        )
    return Refused(f"the kernel refused: {text}", op=render_op(op))


def _find(access: Access, name: str) -> LinkInfo:
    for link in ask_links(access.host, [name]):
        return link
    raise missing_parent(name)


def _way(access: Access, ns: str) -> Way:
    way = access.way(ns)
    if way is None:
        raise Missing("the sandbox has no namespace", sandbox=ns)
    return way


def _same(was: Macvlan, obj: Macvlan) -> bool:
    """Whether it is the same link, of which only settings differ."""
    return (was.parent, was.mode, was.mark) == (obj.parent, obj.mode, obj.mark)
