"""Steps for macvlans and the links they hang on."""

import sys
from errno import EBUSY, EINVAL, EOPNOTSUPP
from typing import Final

from netdrivers.errors import Busy, Conflict, Missing, Refused, Unavailable
from netdrivers.kernel import codec
from netdrivers.kernel.access import Access, Way
from netdrivers.kernel.asking import ask_links, check, make_link
from netdrivers.kernel.codec import LinkChange, LinkInfo, settable_mode
from netdrivers.kernel.netlink import Reply
from netdrivers.kernel.parents import GONE, parent_error
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
        raise parent_error(obj.name, GONE)
    lower = _find(access, obj.lower).index if obj.lower else 0
    data = codec.attr(codec.VLAN_ID, obj.vlan_id.to_bytes(2, sys.byteorder)) if obj.vlan_id else b""
    made = codec.add_lower(obj.name, kind=obj.kind, data=data, lower=lower)
    failed, is_made = make_link(access.host.route, [made, *up], obj.name)
    if failed is not None:
        raise refusal(failed, op, made=is_made)


def _change_macvlan(access: Access, op: Op, obj: Macvlan) -> None:
    if op.verb == "add":
        _add(access, op, obj)
    elif isinstance(op.was, Macvlan) and _same(op.was, obj):
        mtu = obj.mtu_bytes or _find(access, obj.parent).mtu_bytes
        change = LinkChange(
            mac=obj.mac, mtu_bytes=mtu, ipv6=settable_mode(obj.ipv6, mtu), up=obj.up
        )
        check(_way(access, obj.ns).route, codec.set_link(obj.name, change), op)
    else:
        _way(access, obj.ns).route.ask([codec.delete_link(obj.name)])
        _add(access, op, obj)


def _add(access: Access, op: Op, obj: Macvlan) -> None:
    way, parent = _way(access, obj.ns), _find(access, obj.parent)
    change = LinkChange(
        alias=access.alias(obj.mark),
        mac=obj.mac,  # again: in passthru mode the parent's was taken
        ipv6=settable_mode(obj.ipv6, obj.mtu_bytes or parent.mtu_bytes),
        up=obj.up,
    )
    made = codec.add_lower(
        obj.name,
        kind="macvlan",
        data=codec.attr(codec.MACVLAN_MODE, codec.U32.pack(codec.MODES[obj.mode])),
        lower=parent.index,
        mac=obj.mac,
        mtu_bytes=obj.mtu_bytes,
    )
    if obj.ns:
        for _ in ask_links(way, [obj.name]):  # half made: the snapshot has seen that it is ours
            way.route.ask([codec.delete_link(obj.name)])
    (reply,) = access.host.route.ask([codec.born_in(made, way.fd) if obj.ns else made])
    if reply.errno:
        raise refusal(reply, op, parent)
    for reply in way.route.ask(codec.set_link(obj.name, change)):
        if reply.errno:
            way.route.ask([codec.delete_link(obj.name)])
            raise refusal(reply, op, parent, made=True)


def refusal(
    reply: Reply, op: Op, parent: LinkInfo | None = None, *, made: bool = False
) -> Exception:
    """What the kernel's refusal of a link means; ``made``: to set it up, not to make it."""
    obj = op.obj
    kind = obj.kind if isinstance(obj, Parent) else "macvlan"
    if reply.errno == EOPNOTSUPP and not made:
        return Unavailable(
            f"the kernel has no {kind} links", module=MODULES[kind], op=render_op(op)
        )
    if not isinstance(obj, Macvlan) or parent is None:
        return Refused(f"the kernel refused: {reply.text}", op=render_op(op))
    if made:
        return _refused_setup(reply, obj, parent)
    if reply.errno == EINVAL and obj.mtu_bytes > parent.mtu_bytes:
        return Refused("the MTU exceeds that of the parent", option="mtu", most=parent.mtu_bytes)
    if reply.errno in {EINVAL, EBUSY}:
        return Busy(
            "the parent is taken: a passthru link has it alone, so one container at a time, and "
            "no network of another mode",
            option="macvlan_mode",
            parent=parent.name,
            op=render_op(op),
        )
    return Refused(f"the kernel refused: {reply.text}", op=render_op(op))


def _refused_setup(reply: Reply, obj: Macvlan, parent: LinkInfo) -> Refused:
    if obj.mode == "passthru":
        doing = "the parent refused promiscuous mode, which passthru needs; choose another mode"
        return Refused(f"{doing}: {reply.text}", option="macvlan_mode", parent=parent.name)
    doing = "the parent takes no packets for a further MAC address"
    return Refused(f"{doing}: {reply.text}", option="parent", parent=parent.name, mac=obj.mac)


def _find(access: Access, name: str) -> LinkInfo:
    for link in ask_links(access.host, [name]):
        return link
    raise parent_error(name, GONE)


def _way(access: Access, ns: str) -> Way:
    way = access.way(ns)
    if way is None:
        raise Missing("the sandbox has no namespace", sandbox=ns)
    return way


def _same(was: Macvlan, obj: Macvlan) -> bool:
    """Whether it is the same link, of which only settings differ."""
    return (was.parent, was.mode, was.mark) == (obj.parent, obj.mode, obj.mark)
