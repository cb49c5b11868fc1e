"""Requests whose failure is an error that names the step."""

from collections.abc import Iterator, Sequence
from errno import EADDRNOTAVAIL, ENODEV, ENOENT, ESRCH
from secrets import randbelow
from typing import Final

from netdrivers.errors import Refused
from netdrivers.kernel import codec
from netdrivers.kernel.access import Way
from netdrivers.kernel.codec import LinkChange, LinkInfo, Request
from netdrivers.kernel.netlink import Netlink, Reply
from netdrivers.plan.objects import Bridge, Macvlan, Parent, Veth
from netdrivers.plan.ops import Op
from netdrivers.plan.render import render_op
from netdrivers.plan.tunnels import Vxlan

GONE: Final = frozenset({ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL})


def ask_links(way: Way, names: Sequence[str]) -> Iterator[LinkInfo]:
    """The links of these names that exist."""
    for reply in way.route.ask([codec.get_link(name) for name in names]):
        for _, body in reply.messages:
            yield codec.parse_link(body)


def create(netlink: Netlink, requests: Sequence[Request], name: str, op: Op) -> None:
    """Make a link and set it up; a link that cannot be set up is taken back."""
    failed, _ = make_link(netlink, requests, name)
    if failed is not None:
        raise Refused(f"the kernel refused: {failed.text}", op=render_op(op))


def make_link(
    netlink: Netlink, requests: Sequence[Request], name: str
) -> tuple[Reply | None, bool]:
    """(the failure if any, whether the link was made); nothing of ours is left after a failure.

    The first request makes it, and goes alone: the kernel goes on after a message that failed, so
    the others of one write would change, and mark as ours, a link that had the name before.
    """
    first, *rest = requests
    (reply,) = netlink.ask([first])
    if reply.errno:
        return reply, False
    failed = next((each for each in netlink.ask(rest) if each.errno), None)
    if failed is not None:
        netlink.ask([codec.delete_link(name)])
    return failed, True


def check(netlink: Netlink, requests: Sequence[Request], op: Op) -> None:
    """Send all in one write; the first that fails is the error."""
    for reply in netlink.exchange(requests):
        if reply.errno and not forgiven(op, reply.errno):
            raise Refused(f"the kernel refused: {reply.text}", op=render_op(op))


def forgiven(op: Op, errno: int) -> bool:
    """Whether a failure means that what was to be deleted is gone already."""
    return op.verb == "delete" and errno in GONE


def link_of(obj: Bridge | Veth | Macvlan | Parent | Vxlan) -> tuple[str, str]:
    """Where the link of an object is ("" = home) and its name there."""
    if isinstance(obj, Veth) and obj.lone == "sandbox":
        return (obj.owner, obj.interface)  # the other end goes with it, wherever that is
    return (obj.ns if isinstance(obj, Macvlan) else "", obj.name)


def removed_link(op: Op) -> tuple[str, str] | None:
    """The link that an op removes; never one of the operator's."""
    obj = op.obj
    if op.verb != "delete" or not isinstance(obj, Bridge | Veth | Macvlan | Parent | Vxlan):
        return None
    return None if isinstance(obj, Parent) and not obj.kind else link_of(obj)


def remove_links(netlink: Netlink, names: Sequence[str]) -> None:
    """Remove links of ours; missing ones are not missed. Blocks for 20 ms after they are gone.

    By way of a group of their own: one wait in the kernel for all of a namespace.
    """
    group = 1 + randbelow(2**31 - 1)  # 0 is the group of all links
    changes = [codec.set_link(name, LinkChange(group=group)) for name in names]
    requests = [request for each in changes for request in each]
    for reply in netlink.ask([*requests, codec.delete_group(group)]):
        if reply.errno not in {0, *GONE}:
            raise Refused(f"remove links: {reply.text}", links=" ".join(names))
