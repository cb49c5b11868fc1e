"""``network explain``: at which hop a packet dies, and by which rule or missing thing."""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Final

from nodeagent.cli.call import Call, Row, pick
from nodeagent.cli.grammar import UsageError, Verb, Words, switch, text
from nodeagent.cli.output import print_object, render_table

MARKS: Final = {"ok": "ok", "suspect": "?", "fails": "FAILS"}
HEADINGS: Final = ("HOP", "WHERE", "WHAT", "")
PROTOCOLS: Final = ("tcp", "udp")
PORTS: Final = range(1, 65536)
BRACKETED: Final = re.compile(r"\[(?P<ip>[^][]+)\](?::(?P<port>[^:]+))?")


def _explain(call: Call) -> int:
    source, words = call.words
    target, port, protocol = parse_target(words)
    found = call.row(
        "network.explain",
        source=source,
        target=target,
        port=port,
        protocol=protocol,
        probe=not call.values.is_on("no-probe"),
    )
    print_object(found, call.values.text("format"), lambda: render(found))
    return 1 if found.get("Reachable") is False else 0


def parse_target(words: str) -> tuple[str, int, str]:
    """Split ``TO[:PORT[/PROTO]]``; an IPv6 address with a port is in brackets.

    Raises:
        UsageError: no port, or no protocol.
    """
    rest, _, protocol = words.partition("/")
    if {"[", "]"} & set(rest):
        target, port = _bracketed(rest, words)
    elif rest.count(":") > 1:
        target, port = rest, ""
    else:
        target, _, port = rest.partition(":")
    if not target or (not port and (protocol or rest.endswith(":"))):
        raise UsageError(f"{words!r}: write TO, TO:PORT or TO:PORT/udp, e.g. web:80")
    if port and not (port.isdecimal() and int(port) in PORTS):
        raise UsageError(f"{words!r}: a port is 1 to 65535")
    if protocol and protocol not in PROTOCOLS:
        raise UsageError(f"{words!r}: a protocol is {' or '.join(PROTOCOLS)}")
    return target, int(port or 0), protocol or PROTOCOLS[0]


def _bracketed(rest: str, words: str) -> tuple[str, str]:
    """Split ``[IPV6]`` or ``[IPV6]:PORT``."""
    found = BRACKETED.fullmatch(rest)
    if found is None or not _is_ipv6(found["ip"]):
        raise UsageError(f"TO {words!r}: brackets are for an IPv6 address: write [fd00::2]:80")
    return found["ip"], found["port"] or ""


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def render(found: Row) -> str:
    """A table of the hops, what is wrong under the hop it is about, then the answer."""
    hops: list[Row] = pick(found, "Hops", list)
    table = render_table(HEADINGS, [_cells(hop) for hop in hops]).splitlines()
    lines = [table[0]]
    for hop, line in zip(hops, table[1:], strict=True):
        lines.append(line)
        lines += [f"    {hop[key]}" for key in ("Why",) if hop[key]]
        lines += [f"    fix: {hop['Fix']}"] if hop["Fix"] and hop["State"] != "ok" else []
    notes = [f"note: {note}" for note in pick(found, "Notes", list)]
    return "\n".join([*lines, *notes, "", pick(found, "Summary", str)]) + "\n"


def _cells(hop: Row) -> Sequence[str]:
    shown = [str(hop[key]) for key in ("Place", "Where", "What")]
    return [*shown, MARKS.get(str(hop["State"]), str(hop["State"]))]


VERBS: Final = (
    Verb(
        name="explain",
        help="Tell at which hop a packet dies, and by which rule or missing thing",
        run=_explain,
        flags=(
            text("format", "Output: table, json or TEMPLATE", "f"),
            switch("no-probe", "Only look, send no packet"),
        ),
        words=Words(
            usage="FROM TO[:PORT[/PROTO]]", least=2, most=2, completes="container container"
        ),
        examples=(
            "nodeagent network explain web db:5432",
            "nodeagent network explain web 192.0.2.9:53/udp",
            "nodeagent network explain host web:80",
            "nodeagent network explain outside:192.0.2.9 192.0.2.1:8080",
            "nodeagent network explain --no-probe web [fd00::2]:80",
        ),
    ),
)
