"""What a refusal of the kernel means."""

from errno import EBUSY, EINVAL, ENOTSUP, EPERM

import pytest

from netdrivers.errors import Busy, Refused, Unavailable
from netdrivers.kernel.codec import LinkInfo
from netdrivers.kernel.macvlans import refusal
from netdrivers.kernel.netlink import Reply
from netdrivers.plan.objects import Macvlan, Parent
from netdrivers.plan.ops import Op

PARENT = LinkInfo(index=2, name="up0", up=True, mtu_bytes=1500)


def macvlan(mode="bridge", mtu_bytes=0):
    obj = Macvlan(
        ns="a", name="eth0", owner="a", mark="e", parent="up0", mode=mode,
        mac="02:42:00:00:00:02", mtu_bytes=mtu_bytes,
    )  # fmt: skip
    return Op(verb="add", obj=obj)


@pytest.mark.parametrize(
    ("errno", "op", "made", "leaf", "says"),
    [
        (ENOTSUP, macvlan(), False, Unavailable, "module=macvlan"),
        (EINVAL, macvlan("passthru"), False, Busy, "alone"),
        (EINVAL, macvlan(mtu_bytes=9000), False, Refused, "most=1500"),
        (EBUSY, macvlan(), False, Busy, "parent=up0"),
        (EPERM, macvlan(), False, Refused, "refused"),
        (ENOTSUP, macvlan("passthru"), True, Refused, "promiscuous"),
        (ENOTSUP, macvlan(), True, Refused, "further MAC"),
    ],
)
def test_a_refusal_says_what_is_wrong(errno, op, made, leaf, says):
    assert says in str(_refused(errno, op, leaf, made=made))


def test_a_kernel_without_vlans_is_named():
    op = Op(verb="add", obj=Parent(name="up0.30", owner="n", kind="vlan", lower="up0", vlan_id=30))
    assert _refused(ENOTSUP, op, Unavailable).fields["module"] == "8021q"


def _refused(errno, op, leaf, *, made=False):
    error = refusal(Reply(errno=errno, text="said so"), op, PARENT, made=made)
    assert type(error) is leaf
    return error
