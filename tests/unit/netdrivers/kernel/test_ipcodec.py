"""Messages of addresses and routes, checked against the classes of another author."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netdrivers.kernel import ipcodec
from netdrivers.kernel.codec import HEADER, Request
from netdrivers.kernel.ipcodec import RouteInfo


def theirs(kind, request: Request):
    """The message as their class reads it."""
    raw = HEADER.pack(HEADER.size + len(request.body), request.type, request.flags, 1, 0)
    message = kind(raw + request.body)
    message.decode()
    return message


@pytest.mark.parametrize("text", ["10.1.0.2/24", "fd00::2/64"])
def test_addresses(text):
    ip = ip_interface(text)
    request = ipcodec.add_address(7, ip)
    message = theirs(ifaddrmsg, request)
    assert message.get_attr("IFA_LOCAL") == str(ip.ip)
    assert message["prefixlen"] == ip.network.prefixlen
    found = ipcodec.parse_address(request.body)
    assert (found.index, found.ip, found.protocol) == (7, ip, ipcodec.OUR_PROTOCOL)


@pytest.mark.parametrize(
    ("to", "via"),
    [("0.0.0.0/0", "10.1.0.1"), ("10.9.0.0/16", None), ("::/0", "fd00::1"), ("fd01::/64", None)],
)
def test_routes(to, via):
    gateway = ip_address(via) if via else None
    route = RouteInfo(to=ip_network(to), via=gateway, index=7, table=254, protocol=173)
    request = ipcodec.add_route(route, replace=False)
    message = theirs(rtmsg, request)
    assert message.get_attr("RTA_OIF") == 7
    assert message.get_attr("RTA_GATEWAY") == via
    assert message["proto"] == ipcodec.OUR_PROTOCOL
    assert ipcodec.parse_route(request.body) == route
