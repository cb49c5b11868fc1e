"""Counters of links, as /proc has them."""

import os
from pathlib import Path
from typing import Final

from netdrivers.errors import Missing
from netdrivers.kernel.access import Access
from netdrivers.kernel.netns import open_pinned

COUNTERS: Final = ("bytes", "packets", "errors", "dropped")
SENT_AT: Final = 8


def read_counters(access: Access, sandbox: str) -> dict[str, dict[str, int]]:
    """Counters of the links in a sandbox ("" = home) but the loopback.

    From /proc, not from netlink: it takes no lock that a removal of links could hold.
    """
    fd = open_pinned(access.pin(sandbox)) if sandbox else os.dup(access.namespaces.home)
    if fd is None:
        raise Missing("the sandbox has no namespace", sandbox=sandbox)
    try:
        with access.namespaces.inside(fd):
            text = Path("/proc/thread-self/net/dev").read_text(encoding="ascii")
    finally:
        os.close(fd)
    return parse_counters(text)


def parse_counters(text: str) -> dict[str, dict[str, int]]:
    """Read /proc/net/dev: two lines of heading, then ``name: 8 received 8 sent``."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if name.strip() != "lo" and len(words) >= SENT_AT + len(COUNTERS):
            received = {f"rx_{what}": int(words[at]) for at, what in enumerate(COUNTERS)}
            sent = {f"tx_{what}": int(words[SENT_AT + at]) for at, what in enumerate(COUNTERS)}
            found[name.strip()] = received | sent
    return found
