"""Questions with one answer, held against pyroute2's messages."""

from ipaddress import ip_address

import pytest
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netdrivers.kernel import lookup
from netdrivers.kernel.codec import HEADER
from netdrivers.kernel.lookup import Forward, Neighbour, Way


def read(kind, request):
    """The message as their class reads it."""
    raw = HEADER.pack(HEADER.size + len(request.body), request.type, request.flags, 1, 0)
    message = kind(raw + request.body)
    message.decode()
    return message


def theirs(kind, attributes, **fields) -> bytes:
    made = kind()
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = attributes
    made.encode()
    return bytes(made.data)[16:]


@pytest.mark.parametrize("text", ["10.1.0.3", "fd00::3"])
def test_the_question_for_a_way(text) -> None:
    ip = ip_address(text)
    found = read(rtmsg, lookup.get_way(ip))
    assert found.get_attr("RTA_DST") == text
    assert found["dst_len"] == ip.max_prefixlen


@pytest.mark.parametrize(("version", "text"), [(4, "10.1.0.1"), (6, "fd00::1")])
def test_a_way(version, text) -> None:
    family = 2 if version == 4 else 10
    attributes = [
        ("RTA_OIF", 7),
        ("RTA_GATEWAY", text),
        ("RTA_METRICS", {"attrs": [("RTAX_MTU", 1400)]}),
    ]
    body = theirs(rtmsg, attributes, family=family, type=1)
    assert lookup.parse_way(body) == Way(index=7, via=ip_address(text), mtu_bytes=1400)
    assert lookup.parse_way(theirs(rtmsg, [], family=family, type=2)) == Way(index=0, kind="local")


def test_a_neighbour() -> None:
    attributes = [("NDA_DST", "10.1.0.3"), ("NDA_LLADDR", "02:42:00:00:00:01")]
    body = theirs(ndmsg, attributes, family=2, ifindex=3, state=0x80)
    known = Neighbour(
        index=3, ip=ip_address("10.1.0.3"), mac="02:42:00:00:00:01", state="permanent"
    )
    assert lookup.parse_all_neighbours([(28, body)]) == [known]
    assert lookup.parse_neighbour(theirs(ndmsg, [], family=2, ifindex=3, state=0)) is None


def test_a_port_of_a_bridge() -> None:
    attributes = [("NDA_LLADDR", "02:42:00:00:00:01"), ("NDA_MASTER", 9)]
    body = theirs(ndmsg, attributes, family=7, ifindex=3, state=0x42)
    assert lookup.parse_forward(body) == Forward(
        index=3, bridge=9, mac="02:42:00:00:00:01", state="reachable+noarp"
    )


def test_dumps_ask_for_one_family_and_one_bridge() -> None:
    assert lookup.dump_neighbours(6).body[0] == 10
    found = read(ndmsg, lookup.dump_forwards(9))
    assert found["family"] == 7
    assert found.get_attr("NDA_MASTER") == 9
