"""Route messages, checked against the classes of another author, and hostile bytes."""

import sys

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from netdrivers.kernel import codec
from netdrivers.kernel.codec import HEADER, LinkChange, Request


def theirs(kind, request: Request):
    """The message as their class reads it."""
    raw = HEADER.pack(HEADER.size + len(request.body), request.type, request.flags, 1, 0)
    message = kind(raw + request.body)
    message.decode()
    return message


def test_a_veth_is_what_others_read():
    request = codec.add_veth("ve1", peer="eth0", peer_ns=9, mac="02:00:00:00:00:07", mtu_bytes=1400)
    message = theirs(ifinfmsg, request)
    assert message.get_attr("IFLA_IFNAME") == "ve1"
    assert message.get_attr("IFLA_MTU") == 1400
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:07"
    assert peer.get_attr("IFLA_NET_NS_FD") == 9


def test_links_on_other_links_are_what_others_read():
    mode = codec.attr(codec.MACVLAN_MODE, codec.U32.pack(codec.MODES["vepa"]))
    made = codec.add_lower("mv1", kind="macvlan", data=mode, lower=3, mac="02:00:00:00:00:07")
    message = theirs(ifinfmsg, made)
    assert message.get_attr("IFLA_LINK") == 3
    assert message.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:07"
    assert message.get_attr("IFLA_MTU") is None
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "macvlan"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_MACVLAN_MODE") == "vepa"
    tag = codec.attr(codec.VLAN_ID, (30).to_bytes(2, sys.byteorder))
    made = codec.add_lower("up0.30", kind="vlan", data=tag, lower=3)
    info = theirs(ifinfmsg, made).get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_ID") == 30
    read = codec.parse_link(made.body)
    assert (read.kind, read.vlan_id, read.peer, read.mode) == ("vlan", 30, 3, 0)
    assert theirs(ifinfmsg, codec.born_in(made, 9)).get_attr("IFLA_NET_NS_FD") == 9


def test_changes_of_a_link_are_what_others_read():
    change = LinkChange(alias="mark", master=7, group=3, ipv6=False, up=True, hairpin=True)
    first, second = (theirs(ifinfmsg, request) for request in codec.set_link("br0", change))
    assert first.get_attr("IFLA_IFALIAS") == "mark"
    assert first.get_attr("IFLA_MASTER") == 7
    assert first.get_attr("IFLA_GROUP") == 3
    assert first["flags"] == 0
    assert second["flags"] == second["change"] == 1
    assert len(codec.set_link("br0", LinkChange(alias="mark"))) == 1


def test_a_port_that_is_shut_is_opened_again():
    change = LinkChange(up=True, hairpin=False, reopen=True)
    opened = codec.set_link("ve1", change)[-1]
    info = theirs(ifinfmsg, opened).get_attr("IFLA_LINKINFO")
    port = info.get_attr("IFLA_INFO_SLAVE_DATA")
    assert port.get_attr("IFLA_BRPORT_STATE") == codec.FORWARDING
    works = codec.attr(codec.IFLA_OPERSTATE, codec.OPERATES)
    assert codec.parse_link(opened.body + works).port_state == codec.FORWARDING
    blocked = codec.attr(codec.BRPORT_STATE, b"\4")
    data = codec.attr(codec.INFO_PORT_DATA, blocked)
    body = codec.set_link("ve1", LinkChange())[-1].body + codec.attr(codec.IFLA_LINKINFO, data)
    assert codec.parse_link(body + works).port_state == 4
    assert codec.parse_link(body).port_state == codec.FORWARDING, "without a carrier: no matter"


links = st.builds(
    lambda name, alias, mac, mtu, master: (name, alias, mac.hex(":"), mtu, master),
    st.text("abcdefgh0123-", min_size=1, max_size=15),
    st.text(max_size=40).filter(lambda text: "\0" not in text and text),
    st.binary(min_size=6, max_size=6),
    st.integers(1, 65535),
    st.integers(1, 2**31 - 1),
)


@given(links, st.booleans(), st.booleans())
def test_a_link_reads_as_it_was_written(link, up, ipv6):
    name, alias, mac, mtu, master = link
    change = LinkChange(alias=alias, mac=mac, mtu_bytes=mtu, master=master, ipv6=ipv6)
    first, request = codec.set_link(name, change)
    assert codec.parse_link(first.body).mtu_bytes == mtu  # before what needs IPv6
    found = codec.parse_link(request.body)
    assert (found.name, found.alias, found.mac, found.mtu_bytes, found.master) == (
        *link[:3],
        0,
        master,
    )
    assert found.ipv6 == ipv6
    (_, flags) = codec.set_link(name, LinkChange(up=up))
    assert codec.parse_link(flags.body).up == up


def test_a_link_of_less_than_1280_has_no_mode_to_set():
    assert codec.settable_mode(False, 1279) is None
    assert codec.settable_mode(False, 1280) is codec.settable_mode(False, 0) is False
    body = codec.set_link("br0", LinkChange(ipv6=None, alias="a"))[0].body
    assert not codec.parse_link(body).ipv6


@given(st.binary(max_size=200))
def test_any_bytes_are_attributes_or_left_out(data):
    for kind, payload in codec.parse_attrs(data).items():
        assert 0 <= kind <= codec.NLA_TYPE
        assert payload in data


@given(st.dictionaries(st.integers(0, codec.NLA_TYPE), st.binary(max_size=30)))
def test_attributes_read_as_they_were_written(attrs):
    packed = b"".join(codec.attr(kind, payload) for kind, payload in attrs.items())
    assert codec.parse_attrs(packed) == attrs
