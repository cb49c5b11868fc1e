"""Trace messages of nftables, as the kernel packs them, and the tables that ask for them."""

import struct

import pytest

from netdrivers.explain.trace import build_match, build_tables, find_rule, parse_event
from netdrivers.kernel.codec import NESTED, attr

LISTING = """table ip foreign { # handle 3
	chain stop { # handle 1
		type filter hook forward priority filter; policy accept;
		ip saddr 10.0.0.1 counter # handle 4
		ip saddr 10.0.0.2 drop comment "a # handle 5" # handle 14
	}
}
"""


def message(kind=3, verdict=0, *, family=2, policy=None, handle=4) -> bytes:
    body = struct.pack(">BBH", family, 0, 0) + attr(1, b"foreign\0") + attr(2, b"stop\0")
    body += attr(3, struct.pack(">Q", handle)) + attr(4, struct.pack(">I", kind))
    body += attr(5 | NESTED, attr(1, struct.pack(">i", verdict))) + attr(6, struct.pack(">I", 77))
    body += b"" if policy is None else attr(16, struct.pack(">I", policy))
    return body + attr(8, b"network") + attr(9, b"transport")


def test_a_drop_by_a_rule() -> None:
    found = parse_event(message())
    assert (found.id, found.family, found.table, found.chain) == (77, "ip", "foreign", "stop")
    assert (found.handle, found.dropped, found.packet) == (4, True, b"networktransport")


@pytest.mark.parametrize(
    ("fields", "dropped", "handle"),
    [
        ({"verdict": 1}, False, 4),
        ({"verdict": -1}, False, 4),
        ({"kind": 2, "verdict": 0}, False, 0),
        ({"kind": 1, "policy": 0}, True, 0),
        ({"kind": 1, "policy": 1}, False, 0),
    ],
)
def test_other_messages(fields, dropped, handle) -> None:
    found = parse_event(message(**fields))
    assert (found.dropped, found.handle) == (dropped, handle)


def test_the_text_of_a_rule() -> None:
    assert find_rule(LISTING, 4) == "ip saddr 10.0.0.1 counter"
    assert find_rule(LISTING, 14) == 'ip saddr 10.0.0.2 drop comment "a # handle 5"'
    assert find_rule(LISTING, 5) == ""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_only_our_packets_are_marked(version, protocol) -> None:
    match = build_match(version, protocol, 61000)
    assert all("{ 61000, 61001 }" in each for each in match)
    text = build_tables("t", match, ["eth0", 'a"b'], hooks="bridge netdev egress")
    rules = [line for line in text.splitlines() if line.startswith("add rule")]
    assert all(line.endswith(" meta nftrace set 1") for line in rules)
    assert len(rules) == len(match) * (2 + 2 + 2)  # of the two links one is no name for nft
    tables = [line for line in text.splitlines() if line.startswith("add table")]
    assert all("flags owner" in line for line in tables)


def test_what_is_swallowed() -> None:
    text = build_tables("t", ["ip id 1"], [], swallow="ip id 1", hooks="")
    assert "add rule inet t end ip id 1 drop" in text
    assert "bridge" not in text
