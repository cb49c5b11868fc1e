"""The words of ``network explain`` and what it prints."""

import pytest

from nodeagent.cli.explain import parse_target, render
from nodeagent.cli.grammar import UsageError


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("db", ("db", 0, "tcp")),
        ("db:5432", ("db", 5432, "tcp")),
        ("db.back:53/udp", ("db.back", 53, "udp")),
        ("10.0.0.1:80/tcp", ("10.0.0.1", 80, "tcp")),
        ("fd00::1", ("fd00::1", 0, "tcp")),
        ("[fd00::1]:80", ("fd00::1", 80, "tcp")),
        ("[fd00::1]", ("fd00::1", 0, "tcp")),
    ],
)
def test_targets(words, wanted) -> None:
    assert parse_target(words) == wanted


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "write TO"),
        ("db:", "write TO"),
        (":80", "write TO"),
        ("db/udp", "write TO"),
        ("db:x", "a port is"),
        ("db:65536", "a port is"),
        ("[::1", r"TO '\[::1': brackets are for an IPv6 address: write \[fd00::2\]:80"),
        ("::1]", "brackets are for"),
        ("[::1]80", "brackets are for"),
        ("[::1]:", "brackets are for"),
        ("[]:80", "brackets are for"),
        ("[web]:80", "brackets are for"),
        ("db:80/sctp", "a protocol is tcp or udp"),
    ],
)
def test_bad_targets(words, says) -> None:
    with pytest.raises(UsageError, match=says):
        parse_target(words)


def hop(place, state="ok", why="", fix="") -> dict[str, object]:
    return {
        "Place": place, "Where": "web", "What": "eth0", "State": state, "Why": why, "Fix": fix
    }  # fmt: skip


def test_the_table_says_why_under_the_hop() -> None:
    hops = [hop("route"), hop("veth", "fails", "link is down", "ip link set x up")]
    hops.append(hop("mtu", "suspect"))
    printed = render({"Hops": hops, "Notes": ["no bridge hooks"], "Summary": "web to db: no"})
    assert printed.splitlines() == [
        "HOP       WHERE     WHAT",
        "route     web       eth0      ok",
        "veth      web       eth0      FAILS",
        "    link is down",
        "    fix: ip link set x up",
        "mtu       web       eth0      ?",
        "note: no bridge hooks",
        "",
        "web to db: no",
    ]
