"""nft's own account of what becomes of a packet: a table of ours that marks it, and the messages.

The table belongs to the socket that made it (``flags owner``), so the kernel removes it when the
process ends, however it ends. It changes no packet but ours, and no verdict of anybody.

Source: linux/include/uapi/linux/netfilter/nf_tables.h (NFTA_TRACE_*), man 8 nft.
"""

import re
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from netdrivers.errors import Refused
from netdrivers.kernel.codec import HEADER, parse_attrs
from netdrivers.kernel.nftables import Nftables

NETFILTER: Final = 12
SOL_NETLINK, ADD_MEMBERSHIP, TRACE_GROUP = 270, 1, 9
TRACE: Final = 10 << 8 | 17
RECEIVE_BYTES: Final = 1 << 17
FIRST: Final = -2000000000  # before everybody
LAST: Final = 2147483646  # behind everybody but the kernel's own
FAMILIES: Final = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
(TABLE, CHAIN, HANDLE, TYPE, VERDICT, ID, NETWORK, TRANSPORT, POLICY) = 1, 2, 3, 4, 5, 6, 8, 9, 16
POLICY_TYPE, RULE_TYPE = 1, 3
DROP: Final = 0
LINK_NAME: Final = re.compile(r"[^/\s\"\\]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message: a rule, or a policy (handle 0), said something of a packet."""

    id: int
    family: str
    table: str
    chain: str
    handle: int
    dropped: bool
    packet: bytes  # from its IP header on; "" where the kernel does not repeat it


def build_tables(
    name: str, match: Sequence[str], links: Sequence[str], *, swallow: str = "", hooks: str = ""
) -> str:
    """Commands for tables called ``name`` that trace what one of ``match`` fits.

    Args:
        hooks: the families whose hooks are watched besides inet's: "bridge", "netdev", "egress".
        swallow: what fits this ends at the end of the input hook.
    """
    lines = [*_table("inet", name)]
    for hook in ("prerouting", "output"):
        lines += _chain("inet", name, hook, f"hook {hook}", match)
    if swallow:
        hook = f"type filter hook input priority {LAST}; policy accept;"
        lines.append(f"add chain inet {name} end {{ {hook} }}")
        lines.append(f"add rule inet {name} end {swallow} drop")
    if "bridge" in hooks:
        lines += _table("bridge", name)
        for hook in ("prerouting", "output"):
            lines += _chain("bridge", name, hook, f"hook {hook}", match)
    if "netdev" in hooks:
        lines += _table("netdev", name)
        for n, link in enumerate(link for link in links if LINK_NAME.fullmatch(link)):
            for hook in ("ingress", "egress") if "egress" in hooks else ("ingress",):
                lines += _chain("netdev", name, f"{hook}{n}", f'hook {hook} device "{link}"', match)
    return "\n".join(lines) + "\n"


def _table(family: str, name: str) -> list[str]:
    return [f"add table {family} {name} {{ flags owner; }}"]


def _chain(family: str, table: str, name: str, hook: str, match: Sequence[str]) -> list[str]:
    head = f"add chain {family} {table} {name}"
    lines = [f"{head} {{ type filter {hook} priority {FIRST}; policy accept; }}"]
    lines += [f"add rule {family} {table} {name} {each} meta nftrace set 1" for each in match]
    return lines


def build_match(version: int, protocol: str, tag: int) -> list[str]:
    """The words of nft for a probe and for the answers to it; the first is the probe."""
    pair = f"{{ {tag}, {tag + 1} }}"
    own = f"ip id {pair}" if version == 4 else f"ip6 flowlabel {pair}"
    if protocol == "icmp":
        return [f"icmp id {pair}" if version == 4 else f"icmpv6 id {pair}"]
    layer = f"ip protocol {protocol}" if version == 4 else f"meta l4proto {protocol}"
    return [f"{own} {layer}", f"{layer} {protocol} dport {pair}"]


def parse_event(body: bytes) -> Event:
    """Read the body of one trace message."""
    attrs = parse_attrs(body, 4)
    kind = _be(attrs.get(TYPE))
    verdict = parse_attrs(attrs.get(VERDICT, b"")).get(1)
    ruled = kind == RULE_TYPE and verdict is not None and _be(verdict) == DROP
    by_policy = kind == POLICY_TYPE and POLICY in attrs and _be(attrs[POLICY]) == DROP
    return Event(
        id=_be(attrs.get(ID)),
        family=FAMILIES.get(body[0], str(body[0])),
        table=_text(attrs.get(TABLE)),
        chain=_text(attrs.get(CHAIN)),
        handle=_be(attrs.get(HANDLE)) if kind == RULE_TYPE else 0,
        dropped=ruled or by_policy,
        packet=attrs.get(NETWORK, b"") + attrs.get(TRANSPORT, b""),
    )


def _be(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "big")


def _text(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0").decode(errors="replace")


def find_rule(listing: str, handle: int) -> str:
    """The rule with that handle in what ``nft -a list chain`` prints; "" if it is gone."""
    for line in listing.splitlines():
        rule, mark, number = line.strip().rpartition(" # handle ")
        if mark and number.strip() == str(handle):
            return rule
    return ""


class Tracer:
    """Marks our packets in the namespace of the calling thread by tables called ``name``; hears."""

    def __init__(self, nft: Nftables, name: str) -> None:
        self._nft = nft
        self.name = name
        self.sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETFILTER
        )
        self.sock.bind((0, 0))
        self.sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, struct.pack("=i", TRACE_GROUP))

    def mark(self, match: Sequence[str], links: Sequence[str], *, swallow: str) -> str:
        """Put the tables up; what this kernel does not let us watch, in words.

        Raises:
            Refused: not even the inet family.
        """
        refused = ""
        for hooks in ("bridge netdev egress", "bridge netdev", "netdev", "bridge"):
            try:
                self._nft.run(build_tables(self.name, match, links, swallow=swallow, hooks=hooks))
            except Refused as exc:
                refused = refused or str(exc)
            else:
                return f"watched only {hooks} hooks: {refused}" if refused else ""
        self._nft.run(build_tables(self.name, match, links, swallow=swallow))
        return f"watched only inet hooks: {refused}"

    def hear(self) -> Iterator[Event]:
        """What was said since the last time, but for what our own table said."""
        while True:
            try:
                data = self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: the kernel said more than fits; what it said last is there
                continue
            at = 0
            while at + HEADER.size <= len(data):
                size, kind, *_ = HEADER.unpack_from(data, at)
                if kind == TRACE:
                    yield parse_event(data[at + HEADER.size : at + size])
                at += max(size, HEADER.size) + 3 & ~3

    def rule(self, event: Event) -> str:
        """The text of the rule, or of the policy, that the event is about."""
        if not event.handle:
            return "policy drop"
        with suppress(Refused):  # the chain may be gone since
            listing = self._nft.run(f"list chain {event.family} {event.table} {event.chain}")
            return find_rule(listing, event.handle) or f"rule {event.handle}, gone since"
        return f"rule {event.handle}, gone since"

    def close(self) -> None:
        """Stop hearing; the tables go with the context of libnftables."""
        self.sock.close()
