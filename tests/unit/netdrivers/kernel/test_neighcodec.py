"""Tunnels and their entries, held against pyroute2's messages."""

from ipaddress import ip_address

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from netdrivers.kernel import neighcodec
from netdrivers.kernel.codec import HEADER
from netdrivers.plan.tunnels import EVERYBODY

MAC = "02:42:0a:05:00:03"


def decode(kind, request):
    data = HEADER.pack(HEADER.size + len(request.body), request.type, request.flags, 1, 0)
    message = kind(data + request.body)
    message.decode()
    return message


@pytest.mark.parametrize(
    ("local", "field"), [("192.0.2.1", "IFLA_VXLAN_LOCAL"), ("fd12::1", "IFLA_VXLAN_LOCAL6")]
)
def test_a_tunnel(local, field):
    made = neighcodec.add_vxlan(
        "vx-1", vni=4097, local=ip_address(local), port=4789, mtu_bytes=1350
    )
    info = decode(ifinfmsg, made).get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA")
    assert info.get_attr("IFLA_INFO_KIND") == "vxlan"
    assert data.get_attr("IFLA_VXLAN_ID") == 4097
    assert data.get_attr("IFLA_VXLAN_PORT") == 4789
    assert data.get_attr(field) == local
    assert (data.get_attr("IFLA_VXLAN_LEARNING"), data.get_attr("IFLA_VXLAN_PROXY")) == (0, 1)


@pytest.mark.parametrize("vtep", ["192.0.2.9", "fd12::2"])
@pytest.mark.parametrize(("mac", "flag"), [(MAC, 0x100), (EVERYBODY, 0x800)])
def test_a_forwarding_entry(vtep, mac, flag):
    request = neighcodec.fdb_entry("add", 7, mac, ip_address(vtep))
    message = decode(ndmsg, request)
    assert request.flags & 0x900 == flag
    assert (message["family"], message["ifindex"], message["state"]) == (7, 7, 0x80)
    assert message.get_attr("NDA_LLADDR") == mac
    found = neighcodec.parse_neigh(request.body)
    assert (found.mac, found.address, found.is_fdb) == (mac, ip_address(vtep), True)
    assert neighcodec.fdb_entry("delete", 7, mac, ip_address(vtep)).type == 29


@pytest.mark.parametrize("ip", ["10.5.0.3", "fd00:5::3"])
def test_a_neighbour(ip):
    message = decode(ndmsg, neighcodec.neighbour("add", 7, ip_address(ip), MAC))
    assert message.get_attr("NDA_LLADDR") == MAC
    assert message.get_attr("NDA_DST") == ip
    found = neighcodec.parse_neigh(neighcodec.neighbour("add", 7, ip_address(ip), MAC).body)
    assert (found.mac, found.is_fdb, found.index) == (MAC, False, 7)


def test_what_was_learnt_is_none_of_ours():
    body = neighcodec.NEIGH.pack(2, 7, 0x02, 0, 0) + b"\x08\x00\x01\x00\x0a\x05\x00\x03"
    assert neighcodec.parse_neigh(body) is None
    assert neighcodec.parse_neigh(neighcodec.NEIGH.pack(7, 7, 0x80, 4, 0)) is None
